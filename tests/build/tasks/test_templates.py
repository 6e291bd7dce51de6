import pytest

from onerec.build.tasks.templates import BUILT_IN, KINDS, load_templates
from onerec.config import TASKS
from onerec.errors import ConfigError
from tests.build.tasks.materials import settings

OWN = """[fr]
history = ["{history}"]
next_item = ["{history} Et après[ [[sic]]]?"]
[fr.words]
"""


def faults(tmp_path, text, **changes):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    given = {"templates": str(path), "languages": ("fr",), "tasks": ("history", "next_item")} | changes
    with pytest.raises(ConfigError) as told:
        load_templates(settings(**given))
    return [line.removeprefix(f"{path}: ") for line in str(told.value).splitlines()]


def test_what_comes_with_the_program_has_all_tasks_in_both_languages():
    templates = load_templates(settings(languages=("en", "zh")))
    assert {kind.task for kind in KINDS.values()} == set(TASKS)
    assert set(templates.wordings) == set(KINDS)
    for wordings in templates.wordings.values():
        assert {wording.language for wording in wordings} == {"en", "zh"}
    assert templates.words["zh"]["yes"] == "是"
    assert (templates.said_type("likes", "en"), templates.said_type("cart", "en")) == ("like", "cart")


@pytest.mark.parametrize(("domain", "thing"), [("item", "item"), ("film", "film"), ("product", "product")])
def test_words_are_neutral_unless_the_source_is_about_something(domain, thing):
    question = load_templates(settings(), domain=domain).wordings["next_item"][0].text({})
    assert question.endswith(f"\nWhich {thing} comes next?")
    assert "{history}" in question


def test_the_chosen_languages_are_taken_in_their_order():
    templates = load_templates(settings(languages=("zh", "en")))
    assert templates.languages == ("zh", "en")
    assert [wording.language for wording in templates.wordings["interactive"]] == ["zh", "en", "en"]


def test_a_file_of_ones_own_needs_only_the_tasks_that_are_made(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[fr]\nnext_item = ["{history} Et {suite}?"]\n[fr.words]\nsuite = "après"\n')
    data = settings(templates=str(path), languages=("fr",), tasks=("next_item",))
    assert load_templates(data).wordings["next_item"][0].text({}) == "{history} Et après?"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('historie = ["{history}"]', "[fr] historie is no kind of rows; did you mean history?"),
        ("next_item = []", '[fr] next_item is not a list of one text or more; write name = ["...", "..."]'),
        (
            'next_item = ["{history}", "{historie}?"]',
            "[fr] next_item, wording 2 has the unknown field {historie}; there are history",
        ),
        (
            'next_item = ["What comes next?"]',
            "[fr] next_item, wording 1 has no {history}; add it, outside of [ ]",
        ),
        (
            'next_item = ["Next?[ {history}]"]',
            "[fr] next_item, wording 1 has no {history}; add it, outside of [ ]",
        ),
        (
            'next_item = ["{history} <s_a_3>"]',
            "[fr] next_item, wording 1 spells the itemic token <s_a_3>; fields put items in; take it out",
        ),
        (
            'next_item = ["{history} {"]',
            "[fr] next_item, wording 1 has a lone {; a field is {name}, and a brace that is meant is {{",
        ),
        (
            'next_item = ["{history}"]\n[fr.words]\nhistory = "x"',
            "[fr] words.history is a field that rows fill in; give the word another name",
        ),
        (
            'next_item = ["{history}"]\n[fr.words]\nx = "<|sid_begin|>"',
            "[fr] words.x spells the itemic token <|sid_begin|>; fields put items in; take it out",
        ),
        (
            'next_item = ["{history}"]\n[fr.types]\nx = 3',
            '[fr] types is not a table of texts; write name = "text" lines',
        ),
    ],
)
def test_a_fault_is_told_with_file_place_and_remedy(tmp_path, text, fault):
    needed = '[fr]\nhistory = ["{history}"]\n'
    rest = "" if text.startswith("next_item") else 'next_item = ["{history}"]\n'
    assert fault in faults(tmp_path, needed + rest + text)


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    told = faults(
        tmp_path, '[fr]\nnext_item = ["?", "{x} {history}"]\n', tasks=("history", "label_prediction")
    )
    assert told == [
        '[fr] words has no yes, which label_prediction needs; write yes = "..."',
        '[fr] words has no no, which label_prediction needs; write no = "..."',
        "[fr] history is missing; write the list, or leave history out of data.tasks",
        "[fr] next_item, wording 1 has no {history}; add it, outside of [ ]",
        "[fr] next_item, wording 2 has the unknown field {x}; there are history",
        "[fr] label_prediction is missing; write the list, or leave label_prediction out of data.tasks",
    ]


def test_yes_and_no_must_differ(tmp_path):
    text = '[fr]\nhistory = ["{history}"]\nnext_item = ["{history}"]\n[fr.words]\nyes = "o"\nno = "o"\n'
    assert faults(tmp_path, text) == ["[fr] words has the same text for yes and no; give two that differ"]


def test_a_language_that_the_file_does_not_have_is_told(tmp_path):
    assert faults(tmp_path, "[fr]\n[de]\n", languages=("en",)) == [
        "no table [en]; write one, or choose data.languages of those that are there: fr, de"
    ]


def test_a_file_that_cannot_be_read_is_told_with_the_remedy(tmp_path):
    assert "no TOML" in faults(tmp_path, "[fr")[0]
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\); name a TOML file"):
        load_templates(settings(templates=str(tmp_path / "none.toml")))
    assert BUILT_IN.is_file()
