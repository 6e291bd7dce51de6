from __future__ import annotations

from runner.flat import differences, flat, leaves


def test_tables_become_dotted_keys_and_lists_of_tables_are_numbered() -> None:
    document = {"a": {"b": [1, 2], "c": {}}, "d": [{"e": None}, [3]], "f": "x"}
    assert flat(document) == {"a.b": [1, 2], "a.c": {}, "d[0].e": None, "d[1]": [3], "f": "x"}
    assert leaves({"a.b": {"c": 1}}) == {("a.b", "c"): 1}
    assert flat({}) == {}


def test_differences_are_sorted_and_tell_both_values() -> None:
    assert differences({"a": 1, "b": 2, "c": 3}, {"d": 4, "b": 5, "c": 3}) == [
        ("a", 1, None),
        ("b", 2, 5),
        ("d", None, 4),
    ]
