from __future__ import annotations

import json
import pickle
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerec.data.source.validate import LONGEST_BLANK, Message, Record, Row, RowError, excerpt, row_from
from tests.data.rows import identifier

GOOD = {"uuid": identifier(1), "source": "s", "metadata": '{"a": 1}', "messages": None, "segments": None}
SEGMENTS = [{"type": "text", "text": "a"}]
TURN = [{"role": "user", "content": "a"}]


def record(**values):
    return Record("f.parquet", 3, {**GOOD, **values})


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize(
    "content",
    ["ab", {"type": "text", "text": "ab"}, [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]],
)
def test_messages_come_out_the_same_from_json_text_and_from_nested_values(as_text, content):
    messages = [{"role": "system", "content": content, "name": None}]
    row = row_from(record(messages=json.dumps(messages) if as_text else messages))
    assert row == Row(GOOD["uuid"], "s", (Message("system", "ab"),), None, {"a": 1}, "f.parquet", 3)


@pytest.mark.parametrize("as_text", [True, False])
def test_segments_come_out_the_same_from_json_text_and_from_nested_values(as_text):
    segments = [{"type": "text", "text": "a"}, {"type": "text", "text": "\x00\n"}]
    row = row_from(record(segments=json.dumps(segments) if as_text else segments, messages=[], metadata=None))
    assert row == Row(GOOD["uuid"], "s", None, ("a", "\x00\n"), {}, "f.parquet", 3)


@pytest.mark.parametrize(
    ("values", "reason", "start"),
    [
        ({"uuid": "x1"}, "uuid is not a valid UUID", '"x1"'),
        ({"uuid": b"x"}, "uuid is not a valid UUID", "\"b'x'"),
        ({"metadata": ""}, "metadata is not valid JSON", '""'),
        ({"metadata": '"text"'}, "metadata is not a JSON object", '"\\"text'),
        ({"source": "a\ud800", "segments": SEGMENTS}, "text is not valid Unicode", '"a\\ud800"'),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "a role is not user", '["user"]'),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "content that is not text", "{"),
        ({"messages": [None]}, "a message is not an object", "null"),
        ({"segments": SEGMENTS, "messages": "[1"}, "messages is not valid JSON", '"[1"'),
        ({"uuid": None}, "uuid is not a valid UUID", "null"),
        ({"source": " "}, "source is empty", '" "'),
        ({"source": None}, "source is empty", "null"),
        ({"metadata": "[1]"}, "metadata is not a JSON object", '"[1]"'),
        ({"metadata": "{"}, "metadata is not valid JSON", '"{"'),
        ({}, "neither messages nor segments", "null"),
        ({"messages": "", "segments": "[]"}, "neither messages nor segments", "null"),
        ({"messages": TURN, "segments": [{"type": "text", "text": "a"}]}, "both messages and segments", "[{"),
        ({"messages": "{"}, "messages is not valid JSON", '"{"'),
        ({"messages": "{}"}, "messages is not a list", "{}"),
        ({"messages": "[" * 100_000}, "messages is not valid JSON", '"[[['),
        ({"messages": ["a"]}, "a message is not an object", '"a"'),
        (
            {"messages": [{"role": "tool", "content": "a"}]},
            "a role is not user, assistant or system",
            '"tool"',
        ),
        ({"messages": [{"content": "a"}]}, "a role is not user, assistant or system", "null"),
        ({"messages": [{"role": "user"}]}, "content without a text", "null"),
        ({"messages": [{"role": "user", "content": 1}]}, "content without a text", "1"),
        ({"segments": [{"type": "image", "image": "i"}]}, "content that is not text", '{"type": "image"'),
        ({"segments": [{"type": "text"}]}, "content without a text", "null"),
        ({"segments": '[{"type": "text", "text": "a\\ud800"}]'}, "text is not valid Unicode", '"a\\ud800"'),
        ({"source": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")}, "text is not valid UTF-8", '"b'),
    ],
)
def test_a_broken_rule_is_named_and_its_value_shown(values, reason, start):
    with pytest.raises(RowError) as caught:
        row_from(record(**values))
    assert caught.value.reason.startswith(reason)
    assert caught.value.excerpt.startswith(start)


def accepts(identifier_text):
    try:
        return row_from(record(uuid=identifier_text, segments=SEGMENTS)).uuid == identifier_text
    except RowError:
        return False


def is_uuid(identifier_text):
    try:
        return bool(uuid.UUID(identifier_text)) or True
    except ValueError:
        return False


USUAL = st.from_regex(r"\A[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\n?\Z")
ODD = st.text("0123456789abcdefABCDEF-{} _gurn:id\n１٣", min_size=30, max_size=40)
NEARLY = st.tuples(
    USUAL, st.integers(0, 36), st.sampled_from(["", "-", "g", "_", " ", "１", "urn:uuid:", "}"])
)


@given(st.one_of(USUAL, ODD, NEARLY.map(lambda part: part[0][: part[1]] + part[2] + part[0][part[1] + 1 :])))
def test_exactly_what_uuid_reads_is_a_uuid(identifier_text):
    assert accepts(identifier_text) == is_uuid(identifier_text)


def test_a_uuid_with_one_character_too_few_too_many_or_wrong_is_read_as_uuid_reads_it():
    whole = identifier(2**100 + 1)
    for place in range(len(whole)):
        for instead in ("", "-", "0", "g", "_", whole[place] * 2):
            one = whole[:place] + instead + whole[place + 1 :]
            assert accepts(one) == is_uuid(one), one


def test_a_value_of_parquets_own_uuid_type_is_a_uuid():
    one = uuid.UUID(int=7)
    assert row_from(record(uuid=one, segments=SEGMENTS)).uuid == str(one)


def test_control_characters_that_json_text_does_not_escape_are_part_of_the_text():
    raw = '[{"type": "text", "text": "a\x00b\tc\nd\x1b"}]'
    assert row_from(record(segments=raw)).segments == ("a\x00b\tc\nd\x1b",)


@pytest.mark.parametrize("column", ["metadata", "messages", "segments"])
def test_a_number_of_any_length_is_a_number(column):
    digits = "9" * 5000
    values = {"metadata": f'{{"a": {digits}}}', "messages": f"[{digits}]", "segments": f"[{digits}]"}
    with pytest.raises(RowError) as caught:
        row_from(record(**{column: values[column]}))
    wanted = {
        "metadata": "neither messages nor segments",
        "messages": "a message is not an object",
        "segments": "content without a text",
    }
    assert caught.value.reason == wanted[column]


@pytest.mark.parametrize("depth", [100, 900, 960, 980, 990, 995, 1000, 100_000])
def test_values_nested_to_any_depth_are_told_and_never_end_the_program(depth):
    with pytest.raises(RowError) as caught:
        row_from(record(messages="[" * depth + "]" * depth))
    assert caught.value.reason in {"a message is not an object", "messages is not valid JSON"}
    assert len(caught.value.excerpt) <= 160


def test_a_byte_order_mark_belongs_to_a_text_and_not_before_json():
    assert row_from(record(segments='[{"type": "text", "text": "\ufeffa"}]')).segments == ("\ufeffa",)
    with pytest.raises(RowError, match="messages is not valid JSON"):
        row_from(record(messages='\ufeff[{"role": "user", "content": "a"}]'))


@pytest.mark.parametrize("as_chat", [True, False])
def test_white_space_without_end_is_refused_before_a_tokenizer_sees_it(as_chat):
    half = " \n" * (LONGEST_BLANK // 4)
    parts = [{"type": "text", "text": part} for part in (f"a{half}", half, "b")]
    good = {"messages": [{"role": "user", "content": parts}]} if as_chat else {"segments": parts}
    assert row_from(record(**good)).file == "f.parquet"
    parts[1]["text"] += "\t"
    with pytest.raises(RowError, match=r"more than 1,000,000 white space characters in a row"):
        row_from(record(**good))


def test_excerpts_are_short_and_escape_what_a_terminal_would_obey():
    assert excerpt("a\x1b[31m\n你") == '"a\\u001b[31m\\n\\u4f60"'
    assert len(excerpt("x" * 10_000_000)) == 160
    assert excerpt({"a": b"\xff"}) == '{"a": "b\'\\\\xff\'"}'


def test_an_excerpt_of_what_is_nested_too_deeply_says_so():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert excerpt(nested) == '"list, nested too deeply to be shown"'


def test_a_row_error_crosses_processes_whole():
    fault = RowError("reason", "value")
    copy = pickle.loads(pickle.dumps(fault))
    assert (copy.reason, copy.excerpt) == ("reason", '"value"')
