"""What is odd about raw data: counted, told with examples, and judged by the policy of the manifest.

All oddities are gathered before anything is refused, so that a person sees them in one go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onerec.errors import DataError

EXAMPLES = 3


@dataclass
class Oddities:
    """Remarks for people, and faults that end the build."""

    place: str
    """Where the data came from."""
    remarks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def judge(
        self, key: str, choice: str, *, count: int, what: str, examples: Iterable[object], then: str
    ) -> None:
        """Take note of `count` odd things under the policy `key`; `then` says what `choice` does to them.

        Nothing is noted when there are none. With `choice` "error" they are a fault.
        """
        if not count:
            return
        told = f"{count:,} {what} ({_some(list(examples), count)})"
        if choice == "error":
            self.faults.append(f"{told}; correct them, or choose otherwise with policy.{key}")
        else:
            self.remarks.append(f"{told}: {then} (policy.{key})")

    def note(self, remark: str) -> None:
        """Tell something that no policy decides."""
        self.remarks.append(remark)

    def raise_faults(self) -> None:
        """Raise DataError with all faults so far, where there are any."""
        if self.faults:
            raise DataError("\n  ".join([f"{self.place}:", *self.faults]))


def _some(examples: Sequence[object], count: int) -> str:
    shown = ", ".join(str(example) for example in examples[:EXAMPLES])
    return shown if count <= min(EXAMPLES, len(examples)) else f"{shown}, ..."
