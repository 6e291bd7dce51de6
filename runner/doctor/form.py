"""Which fields each kind of event has in a journal, and of what form they are. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from runner.doctor.documents import as_whole

if TYPE_CHECKING:
    from runner.journal import Event

Form = Callable[[object], bool]
STEP_KEYS = ("name", "kind", "stage", "folder", "output_dir")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_nothing(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_whole(value: object) -> bool:
    return as_whole(value) is not None


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _is_object_or_nothing(value: object) -> bool:
    return value is None or isinstance(value, dict)


def is_identity(value: object) -> bool:
    """Whether a value is the identity of a process (runner.process.Identity)."""
    return (
        isinstance(value, dict)
        and all(_is_text(value.get(key)) for key in ("host", "boot_id"))
        and all(_is_whole(value.get(key)) for key in ("pid", "start_ticks"))
    )


def _is_steps(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_step, value))


def _is_step(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(_is_text(value.get(key)) for key in STEP_KEYS)
        and _is_inside(value["folder"])
        and _is_inside(value["output_dir"])
    )


def _is_inside(place: str) -> bool:
    """Whether a path leads into the run directory and not out of it."""
    path = PurePosixPath(place)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in place


EVERY: Mapping[str, Form] = {"time": _is_time, "event": _is_text}
FIELDS: Mapping[str, Mapping[str, Form]] = {
    "run_started": {
        "owner": is_identity,
        "steps": _is_steps,
        "manifest_dir": _is_text,
        "overrides": _is_texts,
    },
    "run_ended": {"state": _is_text, "exit_code": _is_whole, "reason": _is_text_or_nothing},
    "step_started": {
        "step": _is_text,
        "attempt": _is_whole,
        "fingerprint": _is_text,
        "ingredients": _is_object,
    },
    "step_ended": {
        "step": _is_text,
        "state": _is_text,
        "exit_code": _is_whole,
        "reason": _is_text_or_nothing,
        "result": _is_object_or_nothing,
    },
    "manifest_changed": {"changes": _is_objects},
    "steps_invalidated": {"steps": _is_texts, "reason": _is_text},
    "submitted": {
        "job": _is_text,
        "steps": _is_steps,
        "manifest_dir": _is_text,
        "overrides": _is_texts,
        "rerun": _is_texts,
    },
    "requeued": {"job": _is_text, "reached": _is_text},
}
"""Kinds that are not here are of another version, and are not looked into."""


def misfit(event: Event) -> str | None:
    """What an event lacks, or has in another form; None for a sound one."""
    fields = {**EVERY, **FIELDS.get(str(event.get("event")), {})}
    wrong = [name for name, fits in fields.items() if not fits(event.get(name))]
    return f"its {' and '.join(wrong)} cannot be understood" if wrong else None
