"""What is odd about raw data: counted, told with examples, and judged by the policy of the manifest.

All oddities are gathered before anything is refused, so that a person sees them in one go.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from onerec.errors import DataError

EXAMPLES = 3


@dataclass
class Rows:
    """Which row of which file has a number, rows being counted through several files."""

    names: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def begin(self, name: str, start: int) -> None:
        """The file `name` has the rows from `start` on."""
        self.names.append(name)
        self.starts.append(start)

    def place(self, row: int) -> str:
        """File and row, the first row of a file being 1."""
        file = bisect_right(self.starts, row) - 1
        if file < 0:
            return f"row {row + 1}"
        return f"{self.names[file]}, row {row - self.starts[file] + 1}"


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
        told = f"{what}: {count:,}{_some(examples, count)}"
        if choice == "error":
            self.faults.append(f"{told}; correct them, or choose otherwise with policy.{key}")
        else:
            self.remarks.append(f"{told}; {then} (policy.{key})")

    def drop(self, key: str, *, count: int, what: str, examples: Iterable[object]) -> None:
        """Tell, where there are any, that `count` things are left out as the setting `key` asks for."""
        if count:
            self.remarks.append(f"{what}: {count:,}{_some(examples, count)}; left out ({key})")

    def note(self, remark: str) -> None:
        """Tell something that no policy decides."""
        self.remarks.append(remark)

    def fault(self, *, count: int, what: str, examples: Iterable[object], remedy: str) -> None:
        """Refuse `count` things, where there are any, that no policy allows."""
        if count:
            self.faults.append(f"{what}: {count:,}{_some(examples, count)}; {remedy}")

    def raise_faults(self) -> None:
        """Raise DataError with all faults so far, where there are any."""
        if self.faults:
            raise DataError("\n  ".join([f"{self.place}:", *self.faults]))


def _some(examples: Iterable[object], count: int) -> str:
    shown = [str(example) for example in islice(examples, EXAMPLES)]
    return f" ({'; '.join(shown)}{'; ...' if count > len(shown) else ''})" if shown else ""
