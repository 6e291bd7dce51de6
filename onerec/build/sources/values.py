"""One column of a table, batch by batch, to ids, times, numbers, texts, categories or vectors.

Values that do not fit are counted with examples and become null; which policy judges them is not known here.

Shapes: B rows of a batch, D numbers of a vector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from onerec.build.interactions import Float32, Int64
from onerec.build.sources.gather import NO_TIME, Mask
from onerec.build.sources.oddities import EXAMPLES, Oddities, Rows
from onerec.build.sources.read_table import MIXED

WHOLE_NUMBER = r"^\s*[-+]?\d{1,18}(\.0*)?\s*$"
NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
UNITS = ((10**17, 10**9, "nanoseconds"), (10**14, 10**6, "microseconds"), (10**11, 10**3, "milliseconds"))
"""Times from so large a number on are of a unit, of which so many are a second: 1e11 s is the year 5138."""


@dataclass
class Misfits:
    """Values of one column that do not fit."""

    rows: Rows
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, odd_B: pa.BooleanArray, column: pa.Array, first_row: int) -> None:
        """Count the rows of a batch that `odd_B` names; null is none of them."""
        places = np.flatnonzero(odd_B.fill_null(False).to_numpy(zero_copy_only=False))
        self.count += len(places)
        for place in places[: max(0, EXAMPLES - len(self.examples))].tolist():
            value = str(column[place].as_py())
            told = value if len(value) <= 40 else f"{value[:40]}..."
            self.examples.append(f"{self.rows.place(first_row + place)}: {told!r}")


@dataclass
class IdKinds:
    """Whether the ids of users, or of items, are numbers or texts, over all rows of all tables."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, column: pa.Array, is_of_kind_B: Mask, place: Callable[[int], str]) -> None:
        """Count the ids of a batch that are of a kind; `place` tells where a row of the batch stands."""
        places = np.flatnonzero(is_of_kind_B)
        self.counts[kind] += len(places)
        if len(places) and kind not in self.examples:
            first = int(places[0])
            self.examples[kind] = (
                f"{place(first)}: {texts(column.slice(first, 1))[0].as_py()!r} of the {kind}"
            )

    def judge(self, what: str, choice: str, oddities: Oddities) -> None:
        """Take note when there are both; the rarer ones are the odd ones."""
        if len(+self.counts) > 1:
            kind, count = min(self.counts.items(), key=lambda counted: counted[1])
            other = next(name for name in self.counts if name != kind)
            oddities.judge(
                "mixed_ids",
                choice,
                count=count,
                what=f"ids of {what} that are {kind} where {self.counts[other]:,} are {other}",
                examples=[self.examples[kind], self.examples[other]],
                then="all are read as texts",
            )


def ids(
    column: pa.Array, *, kinds: IdKinds, misfits: Misfits, first_row: int, is_typed: bool
) -> pa.DictionaryArray:
    """Ids as texts; numbers that are not whole, and other things, are misfits."""
    is_known_B = column.is_valid().to_numpy(zero_copy_only=False)

    def place(row: int) -> str:
        return misfits.rows.place(first_row + row)

    if column.type == MIXED:
        is_number_B = column.field("is_number").fill_null(False).to_numpy(zero_copy_only=False)
        kinds.add("numbers", column, is_number_B & is_known_B, place)
        kinds.add("texts", column, ~is_number_B & is_known_B, place)
    elif is_typed and not pa.types.is_null(column.type):
        kind = "texts" if _is_text(column.type) else "numbers"
        kinds.add(kind, column, is_known_B, place)
    if pa.types.is_floating(column.type):
        misfits.add(pc.not_equal(pc.floor(column), column), column, first_row)
        column = pc.cast(column, pa.int64(), safe=False)
    if not (pa.types.is_integer(column.type) or _is_text(column.type) or column.type == MIXED):
        misfits.add(column.is_valid(), column, first_row)
        column = pa.nulls(len(column), pa.string())
    encoded = (column if pa.types.is_integer(column.type) else texts(column)).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.cast(pa.string()))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def texts(column: pa.Array) -> pa.StringArray:
    """Any column as texts; empty ones are null."""
    if column.type == MIXED:
        column = pc.if_else(column.is_valid(), column.field("text"), None)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        column = pa.array(
            [None if value is None else str(value) for value in column.to_pylist()], pa.string()
        )
    column = column.cast(pa.string())
    return pc.if_else(pc.equal(column, ""), None, column)


def numbers(column: pa.Array, *, misfits: Misfits, first_row: int) -> pa.DoubleArray:
    """Numbers; null for what is none."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.cast(pa.float64(), safe=False)
    written = texts(column)
    is_number = pc.match_substring_regex(written, NUMBER)
    misfits.add(pc.invert(is_number), column, first_row)
    return pc.utf8_trim_whitespace(pc.if_else(is_number, written, None)).cast(pa.float64())


@dataclass
class Times:
    """Times of all batches, and how large the plain numbers among them are."""

    misfits: Misfits
    chunks: list[Int64] = field(default_factory=list)
    is_plain: list[bool] = field(default_factory=list)

    def add(self, column: pa.Array, first_row: int) -> None:
        """One batch: whole numbers of a unit that `seconds` finds out, timestamps, dates, or such texts."""
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            self._keep(_timestamps(column), is_plain=False)
        elif pa.types.is_integer(column.type):
            self._keep(column.cast(pa.int64()), is_plain=True)
        elif pa.types.is_floating(column.type):
            self._keep(
                pc.floor(pc.if_else(pc.is_finite(column), column, None)).cast(pa.int64()), is_plain=True
            )
        else:
            self._add_texts(texts(column), first_row)

    def _add_texts(self, written: pa.StringArray, first_row: int) -> None:
        is_whole = pc.match_substring_regex(written, WHOLE_NUMBER)
        plain = pc.if_else(is_whole, pc.utf8_trim_whitespace(written), None)
        if pc.all(is_whole, skip_nulls=True).as_py() is not False:
            whole = pc.replace_substring_regex(plain, r"\.0*$", "")
            self._keep(pc.replace_substring_regex(whole, r"^\+", "").cast(pa.int64()), is_plain=True)
            return
        parsed = _parsed(written)
        self.misfits.add(pc.and_(written.is_valid(), parsed.is_null()), written, first_row)
        self._keep(parsed, is_plain=False)

    def _keep(self, column: pa.Int64Array, *, is_plain: bool) -> None:
        self.chunks.append(column.fill_null(NO_TIME).to_numpy(zero_copy_only=False))
        self.is_plain.append(is_plain)

    def seconds(self, name: str, oddities: Oddities) -> Int64:
        """All times in seconds. Plain numbers have the unit that their size tells; two units are a fault."""
        times_E = np.concatenate([*self.chunks, np.empty(0, dtype=np.int64)])
        is_plain_E = np.repeat(self.is_plain, [len(chunk) for chunk in self.chunks]).astype(bool)
        is_plain_E &= times_E != NO_TIME
        sizes = np.abs(times_E[is_plain_E])
        if not len(sizes):
            return times_E
        middle = np.partition(sizes, len(sizes) // 2)[len(sizes) // 2]
        least, per_second, unit = next((u for u in UNITS if middle >= u[0]), (0, 1, "seconds"))
        most = next((u[0] for u in reversed(UNITS) if u[0] > least), np.iinfo(np.int64).max)
        odd = np.flatnonzero(is_plain_E)[(sizes < least) | (sizes >= most)]
        oddities.fault(
            count=len(odd),
            what=f"times in {name!r} of another unit than the others, which are {unit}",
            examples=(f"{self.misfits.rows.place(row)}: {times_E[row]}" for row in odd.tolist()),
            remedy="write all in one unit",
        )
        if per_second > 1:
            oddities.note(f"times in {name!r} are so large that they are read as {unit}")
            times_E[is_plain_E] //= per_second
        return times_E


def _timestamps(column: pa.Array) -> pa.Int64Array:
    """Whole seconds since 1970; a time without a zone is UTC."""
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    return column.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())


def _parsed(written: pa.StringArray) -> pa.Int64Array:
    """Seconds of times that are written as in ISO 8601; null for what is not."""
    for zone in (None, "UTC"):
        with suppress(pa.ArrowInvalid):
            return _timestamps(written.cast(pa.timestamp("us", zone)))
    encoded = written.dictionary_encode()
    return pa.array([_iso(text) for text in encoded.dictionary.to_pylist()], pa.int64()).take(encoded.indices)


def _iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return int(zoned.timestamp() // 1)


def years(column: pa.Array, *, misfits: Misfits, first_row: int) -> list[int | None]:
    """Years, also of dates; None for what is none."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return list(pc.year(column).to_pylist())
    found = numbers(column, misfits=misfits, first_row=first_row)
    is_year = pc.and_(pc.equal(pc.floor(found), found), pc.less_equal(pc.abs(found), 9999.0))
    misfits.add(pc.invert(is_year), column, first_row)
    return list(pc.if_else(is_year, found, None).cast(pa.int32()).to_pylist())


def categories(column: pa.Array) -> list[tuple[str, ...]]:
    """Words of a list, or of one text that separates them with `|`."""
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return [_words((text or "").split("|")) for text in texts(column).to_pylist()]
    return [_words(found or ()) for found in column.to_pylist()]


def _words(found: object) -> tuple[str, ...]:
    assert isinstance(found, (list, tuple))
    stripped = (str(word).strip() for word in found if word is not None)
    return tuple(dict.fromkeys(word for word in stripped if word))


@dataclass
class Vectors:
    """Vectors of all batches; NaN for those that are missing."""

    misfits: Misfits
    size: int | None = None
    """D, that of the first vector."""
    chunks: list[tuple[Float32 | None, int]] = field(default_factory=list)
    """Rows of a batch, None where it has no vector at all, and their number."""

    def add(self, column: pa.Array, first_row: int) -> None:
        """One batch of lists of numbers."""
        if pa.types.is_null(column.type):
            self.chunks.append((None, len(column)))
            return
        if not _holds_numbers(column.type):
            self.misfits.add(column.is_valid(), column, first_row)
            self.chunks.append((None, len(column)))
            return
        column = column.cast(pa.large_list(pa.float32()), safe=False)
        lengths = pc.list_value_length(column)
        if self.size is None:
            self.size = next((length for length in lengths.to_pylist() if length), None)
        is_right = pc.and_(column.is_valid(), pc.equal(lengths, self.size or 0)).fill_null(False)
        vectors_BD = np.full((len(column), self.size or 0), np.nan, dtype=np.float32)
        flat = column.filter(is_right).flatten().to_numpy(zero_copy_only=False)
        vectors_BD[is_right.to_numpy(zero_copy_only=False)] = flat.reshape(-1, self.size or 0)
        is_finite_B = np.isfinite(vectors_BD).all(axis=1)
        self.misfits.add(pc.and_(column.is_valid(), pc.invert(pa.array(is_finite_B))), column, first_row)
        self.chunks.append((vectors_BD, len(column)))

    def rows(self) -> Float32:
        """Vectors of all rows, (N, D)."""
        empty = np.float32(np.nan)
        parts = [np.full((n, self.size or 0), empty) if part is None else part for part, n in self.chunks]
        return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)


def _holds_numbers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)))
