from __future__ import annotations

import pytest

from runner.changes import KeyChange, changes_text, key_changes

OLD = {
    "name": "a",
    "cluster": {"max_restarts": 2, "env": {"A": "1"}},
    "datasets": {"d": {"sources": "x", "num_workers": 2, "max_length": 64}},
    "stages": {
        "one": {"kind": "train", "dataset": "d", "learning_rate": 1e-3, "logging_per_step": 5},
        "two": {"kind": "train", "dataset": "d", "learning_rate": 1e-3},
    },
}


def changed(**keys: object) -> dict[str, object]:
    import copy

    new = copy.deepcopy(OLD)
    for key, value in keys.items():
        node = new
        *path, last = key.split("__")
        for part in path:
            node = node[part]  # type: ignore[assignment]
        node[last] = value
    return new


@pytest.mark.parametrize(
    ("key", "value", "drifted", "verdict"),
    [
        ("stages__one__logging_per_step", 1, set(), "harmless"),
        ("datasets__d__num_workers", 0, set(), "harmless"),
        ("datasets__d__sources", "/elsewhere", set(), "harmless"),
        ("datasets__d__sources", "/others", {"one"}, "incompatible"),
        ("cluster__max_restarts", 5, set(), "allowed on resume"),
        ("cluster__launcher", "torchrun", {"one"}, "allowed on resume"),
        ("stages__two__learning_rate", 2e-3, {"one"}, "not yet used"),
        ("stages__one__learning_rate", 2e-3, {"one"}, "incompatible"),
        ("datasets__d__max_length", 128, {"one"}, "incompatible"),
        ("datasets__d__max_length", 128, set(), "not yet used"),
        ("seed", 5, {"one"}, "incompatible"),
    ],
)
def test_each_changed_key_is_classified(key: str, value: object, drifted: set[str], verdict: str) -> None:
    (found,) = key_changes(OLD, changed(**{key: value}), drifted=drifted)
    assert (found.key, found.verdict) == (key.replace("__", "."), verdict)


def test_nothing_changed_is_nothing_told() -> None:
    assert key_changes(OLD, changed(), drifted={"one"}) == ()


def test_a_line_for_each_key_obeys_no_terminal() -> None:
    told = changes_text(
        [KeyChange("a.b", None, "x\x1b[2J", "harmless"), KeyChange("c", 1, 2, "incompatible")]
    )
    assert told == [
        "a.b: (not given) -> x\\x1b[2J (harmless)",
        "c: 1 -> 2 (incompatible with what was made)",
    ]
