"""How times, counts and values stand on the page. Pure."""

from __future__ import annotations

import time


def moment(at: float | None) -> str:
    """A time as people write it, of this machine's zone."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def count(number: object) -> str:
    """A whole number with commas; `?` for anything else."""
    return f"{number:,}" if isinstance(number, int) and not isinstance(number, bool) else "?"


def shown(value: object) -> str:
    """Any value of a JSON document."""
    if value is None:
        return "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return value if isinstance(value, str) else str(value)
