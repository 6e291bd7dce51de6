"""A position is the one where tomli found the key, or there is none."""

from __future__ import annotations

import string

import pytest
import tomli
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runner.manifest.positions import Position, locate_keys, paths_of, scan

TEXT = '''\
name = "a" # name = "b"

[model]
base_model_dir = 'x = [y]'
"quoted key" . inner = """
name = 1
[model.z]
"""

[[stages.base.corpus]]
stage = "data"
[[stages.base.corpus]]
stage = """a\\"""b""" # two
[stages]
list = [ 1, # one, two
  [2, "],"], { a = 1, b.c = [3] },
]
'''


def test_every_key_and_list_element_has_the_line_and_column_where_it_stands():
    located = locate_keys(TEXT, tomli.loads(TEXT))

    assert {path: (position.line, position.column) for path, position in located.items()} == {
        ("name",): (1, 1),
        ("model",): (3, 2),
        ("model", "base_model_dir"): (4, 1),
        ("model", "quoted key"): (5, 1),
        ("model", "quoted key", "inner"): (5, 16),
        ("stages",): (14, 2),
        ("stages", "base"): (10, 10),
        ("stages", "base", "corpus"): (10, 15),
        ("stages", "base", "corpus", 0): (10, 15),
        ("stages", "base", "corpus", 0, "stage"): (11, 1),
        ("stages", "base", "corpus", 1): (12, 15),
        ("stages", "base", "corpus", 1, "stage"): (13, 1),
        ("stages", "list"): (15, 1),
        ("stages", "list", 0): (15, 10),
        ("stages", "list", 1): (16, 3),
        ("stages", "list", 1, 0): (16, 4),
        ("stages", "list", 1, 1): (16, 7),
        ("stages", "list", 2): (16, 14),
        ("stages", "list", 2, "a"): (16, 16),
        ("stages", "list", 2, "b"): (16, 23),
        ("stages", "list", 2, "b", "c"): (16, 25),
        ("stages", "list", 2, "b", "c", 0): (16, 30),
    }


STRINGS = [
    '""',
    "''",
    '"# \\" ]}"',
    "'\\'",
    '""""""',
    "''''''",
    '""""a"""""',
    '"""a""""',
    "'''''b'''''",
    '"""\\"" ""\n\\\n  x"""',
    "'''\n[x]\nb = 2\\'''",
]


@pytest.mark.parametrize("string", STRINGS)
def test_strings_are_skipped_whole_whatever_they_hold(string: str):
    text = f"a = [{string}, {string}]\nb = 1"
    located = locate_keys(text, tomli.loads(text))

    assert list(located) == [("a",), ("a", 0), ("a", 1), ("b",)]
    assert located[("a", 1)].column == len(string.rpartition("\n")[2]) + (3 if "\n" in string else 8)
    assert located[("b",)] == Position(text.count("\n") + 1, 1)


def test_there_are_no_positions_when_tomli_read_something_else():
    assert locate_keys("a = 1\nb = 2\n", {"a": 1}) == {}
    assert locate_keys("a = [1", {"a": [1]}) == {}
    assert locate_keys("a = 1", {"a": 1}) == {("a",): Position(1, 1)}


PLAIN = string.ascii_letters + string.digits + "_-"
TRICKY = PLAIN + " .=#[]{}'\"\\,é\t"


def written_key(name: str) -> st.SearchStrategy[str]:
    spellings = [basic_string(name)]
    if name and all(mark in PLAIN for mark in name):
        spellings += [name] * 3
    if "'" not in name:
        spellings.append(f"'{name}'")
    return st.sampled_from(spellings)


def basic_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


keys = (st.text(PLAIN, min_size=1, max_size=4) | st.text(TRICKY, max_size=5)).flatmap(written_key)
blanks = st.sampled_from(["", " ", "\t", "  "])
gaps = st.sampled_from(["", " ", "\n", " # ]}, \"'\n", "\n\n  "])
scalars = st.one_of(
    st.integers().map(str),
    st.sampled_from(["true", "-inf", "1e3", "0xff", "1979-05-27 07:32:00", "07:32:00", "1_000.5"]),
    st.text(TRICKY, max_size=8).map(basic_string),
    st.text(TRICKY, max_size=8).filter(lambda text: "'" not in text).map(lambda text: f"'{text}'"),
    st.text(TRICKY + "\n", max_size=8)
    .filter(lambda text: '"' not in text and "\\" not in text)
    .map(lambda text: f'"""{text}"""'),
    st.text(TRICKY + "\n", max_size=8).filter(lambda text: "'" not in text).map(lambda text: f"'''{text}'''"),
    st.sampled_from(['""""a"""""', "'''''b'''''", '"""\\"" ""\n\\\n  x"""', "''''''"]),
)


@st.composite
def dotted_keys(draw: st.DrawFn, most: int = 3) -> str:
    parts = draw(st.lists(keys, min_size=1, max_size=most))
    return (draw(blanks) + "." + draw(blanks)).join(parts)


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    elements = st.lists(st.tuples(gaps, values, gaps).map("".join), max_size=3)
    return st.tuples(elements, st.booleans(), gaps).map(
        lambda drawn: "[" + ",".join(drawn[0]) + ("," if drawn[0] and drawn[1] else "") + drawn[2] + "]"
    )


def inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(blanks, dotted_keys(2), blanks, st.just("="), blanks, values, blanks).map("".join)
    return st.lists(pair, max_size=3).map(lambda pairs: "{" + ",".join(pairs) + "}")


values = st.recursive(scalars, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=6)


@st.composite
def documents(draw: st.DrawFn) -> str:
    pairs = st.tuples(blanks, dotted_keys(), blanks, st.just("="), blanks, values).map("".join)
    headers = st.tuples(blanks, dotted_keys()).map(lambda drawn: f"{drawn[0]}[{drawn[1]} ]")
    lists = st.tuples(blanks, dotted_keys(2)).map(lambda drawn: f"{drawn[0]}[[ {drawn[1]}]]")
    comments = st.text(TRICKY, max_size=8).map("#{}".format)
    lines = draw(st.lists(st.one_of(pairs, pairs, headers, lists, comments, blanks), max_size=8))
    kept: list[str] = []
    for (
        line
    ) in lines:  # a line that makes no sense after the ones before it, such as a key given twice, is left out
        if is_toml("\n".join([*kept, line])):
            kept.append(line)
    return "\n".join(kept)


def is_toml(text: str) -> bool:
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        return False
    return True


@given(documents())
def test_the_scanner_finds_exactly_the_keys_that_tomli_finds(text: str):
    document = tomli.loads(text)
    offsets = scan(text)

    assert set(offsets) == set(paths_of(document))


@given(documents())
def test_the_text_at_a_position_is_the_key(text: str):
    document = tomli.loads(text)
    lines = text.split("\n")
    for path, position in locate_keys(text, document).items():
        if isinstance(path[-1], str):
            rest = lines[position.line - 1][position.column - 1 :]
            spelled = rest.startswith((path[-1], "'", '"'))
            assert spelled, (path, rest)


@given(documents(), st.text(TRICKY + "\n", max_size=6))
def test_a_text_that_is_no_toml_never_breaks_the_scanner(text: str, tail: str):
    assume(not is_toml(text + tail))
    assert locate_keys(text + tail, {}) == {}


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_the_scanner_finds_the_keys_of_ten_thousand_generated_files(text: str):
    document = tomli.loads(text)
    located = locate_keys(text, document)

    assert set(located) == set(paths_of(document))
