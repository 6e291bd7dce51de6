"""What preflight found: a place in the manifest, what is the matter with it, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Finding:
    """An error keeps the run from starting; a warning is told and the run goes on; an info is no fault."""

    level: Literal["error", "warning", "info"]
    place: str
    """Dotted place in the manifest; empty when it is about none."""
    message: str
    remedy: str

    def __str__(self) -> str:
        """`error: model.base_model_dir: what; remedy`."""
        words = ": ".join(part for part in (self.level, self.place, self.message) if part)
        return f"{words}; {self.remedy}" if self.remedy else words


@dataclass(frozen=True)
class Figures(Finding):
    """What was found out about a dataset, in words and in numbers."""

    figures: Mapping[str, Any]


def error(place: str, message: str, remedy: str) -> Finding:
    """A finding that keeps the run from starting."""
    return Finding("error", place, message, remedy)


def warning(place: str, message: str, remedy: str) -> Finding:
    """A finding that is told, and the run goes on."""
    return Finding("warning", place, message, remedy)


def info(place: str, message: str) -> Finding:
    """A finding that is no fault."""
    return Finding("info", place, message, "")
