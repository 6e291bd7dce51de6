"""Put samples into packs of at most `capacity` tokens: best fit, longest first; no sample is ever cut.

Pure functions on arrays of lengths.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


def best_fit(lengths: npt.NDArray[np.integer], capacity: int) -> tuple[Int64Array, int]:
    """Pack number of each sample, and the number of packs; every length is between 1 and `capacity`.

    Best-fit decreasing (Johnson, 1974): the longest sample first, each into the fullest pack that it fits.
    """
    longest_first = np.argsort(-lengths.astype(np.int64), kind="stable")
    values, starts = np.unique(-lengths[longest_first].astype(np.int64), return_index=True)
    ends = [*starts[1:].tolist(), len(lengths)]
    packs = _Packs(capacity)
    assigned = np.empty(len(lengths), dtype=np.int64)
    for value, start, end in zip((-values).tolist(), starts.tolist(), ends, strict=True):
        while start < end:
            taken, each = packs.take(value, end - start)
            count = min(end - start, len(taken) * each)
            assigned[start : start + count] = taken if each == 1 else np.repeat(taken, each)[:count]
            packs.give_back(taken, value, each, count)
            start += count  # noqa: PLW2901  the rest of the group goes to the next fullest packs
    numbers = np.empty_like(assigned)
    numbers[longest_first] = assigned
    return numbers, packs.opened


class _Packs:
    """Open packs by the room that is left in them; all samples of one length are placed together."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_room: dict[int, list[int]] = {}
        self._rooms = 0  # bit r is set when a pack has room r: its lowest bit from n on is the best fit for n
        self.opened = 0

    def take(self, length: int, count: int) -> tuple[list[int], int]:
        """Packs that best fit up to `count` samples of this length, and how many of them each one takes."""
        fitting = self._rooms >> length
        self._room = length + (fitting & -fitting).bit_length() - 1 if fitting else self._capacity
        each = self._room // length
        wanted = -(-count // each)
        if fitting:
            return self._pop(wanted), each
        self.opened += wanted
        return list(range(self.opened - wanted, self.opened)), each

    def _pop(self, wanted: int) -> list[int]:
        packs = self._by_room[self._room]
        taken = packs[-wanted:]
        del packs[-wanted:]
        if not packs:
            self._rooms ^= 1 << self._room
        return taken

    def give_back(self, taken: list[int], length: int, each: int, count: int) -> None:
        """Note the room that is left in the packs just taken, the last of which may have got fewer."""
        in_last = count - (len(taken) - 1) * each
        if in_last < each:
            self._note(self._room - in_last * length, taken[-1:])
            taken = taken[:-1]
        self._note(self._room - each * length, taken)

    def _note(self, room: int, packs: list[int]) -> None:
        if room and packs:
            self._by_room.setdefault(room, []).extend(packs)
            self._rooms |= 1 << room
