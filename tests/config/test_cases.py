"""A file of test cases is read whole, or refused with every fault: file, case, key, remedy."""

import json

import pytest

from onerec.config import ChatMessage, GenerationCase, load_cases
from onerec.errors import ConfigError
from onerec.model_test.program import SHIPPED_CASES


def refused(tmp_path, text):
    path = tmp_path / "cases.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_cases(path)
    return str(caught.value).replace(str(tmp_path), ".").split("\n")


def test_a_case_may_say_everything(tmp_path):
    chat = {
        "name": "all",
        "kind": "chat",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hi"}],
        "enable_thinking": False,
        "do_sample": True,
        "temperature": 1,
        "top_p": 0.9,
        "top_k": 20,
        "seed": 7,
        "max_new_tokens": 5,
        "expect": ["a"],
        "expect_any": ["b", "c"],
        "reject": ["d"],
        "expect_items": True,
    }
    path = tmp_path / "cases.json"
    path.write_text(json.dumps([chat, {"name": "short", "kind": "text", "prompt": "Hi"}]))
    told = {
        **chat,
        "messages": (ChatMessage(role="user", content="Hi"),),
        "expect": ("a",),
        "expect_any": ("b", "c"),
        "reject": ("d",),
    }
    assert load_cases(path) == (
        GenerationCase(**told),
        GenerationCase(name="short", kind="text", prompt="Hi"),
    )


def test_every_fault_is_told_at_once(tmp_path):
    cases = [
        {"name": "a", "kind": "text", "promt": "x", "expct": ["q"]},
        {"name": "b", "kind": "chat", "messages": [{"role": "usr", "content": "x", "nme": 1}], "top_p": 2},
        {"name": "b", "kind": "chat", "prompt": "x", "top_k": 1, "messages": []},
        3,
        {"kind": "text", "prompt": "", "do_sample": 1, "\x1b[2J": 0},
        {"name": "c", "kind": "text", "system": "x", "messages": [], "enable_thinking": True},
        {"name": "d", "kind": "chat", "messages": [{"role": "assistant", "content": "x"}]},
        {
            "name": "e",
            "kind": "chat",
            "system": "x",
            "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "x"}],
        },
    ]
    keys = ", ".join(GenerationCase.model_fields)
    told = [line.removeprefix("./cases.json: ") for line in refused(tmp_path, json.dumps(cases))]
    assert told == [
        "case 1 \"a\": promt: no such key; did you mean 'prompt'?",
        "case 1 \"a\": expct: no such key; did you mean 'expect'?",
        "case 2 \"b\": messages[0].role: should be 'system', 'user' or 'assistant', is \"usr\"; correct it",
        'case 2 "b": messages[0].nme: no such key; remove it; keys are role, content',
        'case 2 "b": top_p: should be less than or equal to 1, is 2; correct it',
        'case 3 "b": prompt: is for kind text; write messages, or set kind to "text"',
        'case 3 "b": messages: are missing; write [{"role": "user", "content": "..."}]',
        'case 3 "b": top_k: a greedy answer draws nothing; set do_sample to true, or remove it',
        'case 4: is 3; write an object, such as {"name": "...", "kind": "text", "prompt": "..."}',
        "case 5: name: is missing; add it",
        'case 5: prompt: should have at least 1 character, is ""; correct it',
        "case 5: do_sample: should be a valid boolean, is 1; correct it",
        f"case 5: \\u001b[2J: no such key; remove it; keys are {keys}",
        'case 6 "c": prompt: is missing; kind text goes on from it',
        'case 6 "c": messages: is for kind chat; remove it, or set kind to "chat"',
        'case 6 "c": system: is for kind chat; remove it, or set kind to "chat"',
        'case 6 "c": enable_thinking: is for kind chat; remove it, or set kind to "chat"',
        "case 7 \"d\": messages: end with the assistant's turn; end with the user's, which is to be answered",
        'case 8 "e": system: there is a system message among the messages too; keep one of them',
        "'b' is the name of 2 cases; rename all but one",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"name":\n "x",}]', "./cases.json:2:6: no JSON ("),
        ("", "./cases.json:1:1: no JSON ("),
        ("[]", "./cases.json holds no test case; give a JSON list"),
        ('{"a": 1}', './cases.json holds {"a": 1}, which is no list; give a JSON list'),
    ],
)
def test_a_file_that_is_no_list_is_refused(tmp_path, text, told):
    [line] = refused(tmp_path, text)
    assert line.startswith(told)


def test_what_is_no_text_file_is_refused(tmp_path):
    (tmp_path / "raw.json").write_bytes(b"\xff\xfe\x00")
    for path, told in (
        (tmp_path, "is a folder"),
        (tmp_path / "no.json", "is missing"),
        (tmp_path / "raw.json", "is no text"),
    ):
        with pytest.raises(ConfigError, match=told):
            load_cases(path)


def test_the_shipped_cases_cover_every_way_to_ask():
    cases = load_cases(SHIPPED_CASES)
    ways = {(case.kind, case.do_sample) for case in cases}
    assert ways == {(kind, sampled) for kind in ("text", "chat") for sampled in (False, True)}
    assert {case.enable_thinking for case in cases if case.kind == "chat"} == {True, False}
    assert {case.kind for case in cases if any("<|sid_begin|>" in text for text in case.texts())} == {
        "text",
        "chat",
    }
    assert any(case.system for case in cases)
