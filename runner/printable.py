"""Text of others, made harmless for a terminal. Imports nothing, so that what answers at once can use it."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """The text with everything that is not printable escaped, so that a terminal does not obey it."""
    return "".join(
        mark if mark.isprintable() or mark in keep else mark.encode("unicode_escape").decode()
        for mark in text
    )
