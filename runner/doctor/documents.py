"""JSON files of a run as they are found: read whole, or the reason why not; a damaged one raises nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Document:
    """A JSON object, or what is wrong with its file."""

    values: Mapping[str, object] = field(default_factory=dict)
    fault: str | None = None
    """`is not there`, `cannot be read: ...`; None when it was read."""

    def whole(self, key: str) -> int | None:
        """A whole number; None for anything else."""
        return as_whole(self.values.get(key))


def read_object(path: Path) -> Document:
    """The JSON object in a file."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Document(fault="is not there")
    except OSError as fault:
        return Document(fault=f"cannot be read: {fault.strerror}")
    except (ValueError, RecursionError) as fault:
        return Document(fault=f"is no JSON: {fault}")
    return Document(document) if isinstance(document, dict) else Document(fault="is no JSON object")


def as_whole(value: object) -> int | None:
    """A whole number; None for anything else, true and false too."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_numbers(value: object) -> tuple[int, ...] | None:
    """A list of whole numbers from 0 on; None for anything else."""
    if not isinstance(value, list):
        return None
    numbers = tuple(number for number in map(as_whole, value) if number is not None and number >= 0)
    return numbers if len(numbers) == len(value) else None
