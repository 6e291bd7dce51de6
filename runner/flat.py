"""JSON documents as dotted keys and values, and what differs between two. Pure, standard library only."""

from __future__ import annotations

from collections.abc import Mapping

Path = tuple["str | int", ...]


def leaves(document: object, *, path: Path = ()) -> dict[Path, object]:
    """Every value by its path; a list is a value, unless it holds tables or lists."""
    if isinstance(document, Mapping) and (document or not path):
        parts: list[tuple[str | int, object]] = [(str(key), value) for key, value in document.items()]
    elif isinstance(document, list) and any(isinstance(part, (Mapping, list)) for part in document):
        parts = list(enumerate(document))
    else:
        return {path: document}
    found: dict[Path, object] = {}
    for key, value in parts:
        found |= leaves(value, path=(*path, key))
    return found


def flat(document: object) -> dict[str, object]:
    """`{"a": {"b": [1, 2]}}` as `{"a.b": [1, 2]}`; lists that hold tables are numbered: `a[0].b`."""
    return {label(path): value for path, value in leaves(document).items()}


def label(path: Path) -> str:
    """A path as text: `a[0].b`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else ("." if text else "") + part
    return text


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Keys whose values differ, with the old and the new value; None stands for a key that is not there."""
    keys = sorted(old.keys() | new.keys())
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]
