from __future__ import annotations

import json
import pickle

import pytest

from onerec.data.validate import Message, Record, Row, RowError, excerpt, row_from
from tests.data.rows import identifier

GOOD = {"uuid": identifier(1), "source": "s", "metadata": '{"a": 1}', "messages": None, "segments": None}
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
    assert caught.value.reason == reason
    assert caught.value.excerpt.startswith(start)


def test_excerpts_are_short_and_escape_what_a_terminal_would_obey():
    assert excerpt("a\x1b[31m\n你") == '"a\\u001b[31m\\n\\u4f60"'
    assert len(excerpt("x" * 10_000_000)) == 160
    assert excerpt({"a": b"\xff"}) == '{"a": "b\'\\\\xff\'"}'


def test_a_row_error_crosses_processes_whole():
    fault = RowError("reason", "value")
    copy = pickle.loads(pickle.dumps(fault))
    assert (copy.reason, copy.excerpt) == ("reason", '"value"')
