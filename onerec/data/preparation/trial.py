"""What preparing would make of a few rows, told row by row; nothing is stored and no row is left out.

Rows are chosen evenly over the files, from the beginning of each: footers tell the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import TypeVar

from onerec.config import Dataset
from onerec.data.preparation.write import pieces_of
from onerec.data.source.read import sample_records
from onerec.data.source.validate import Record, Row, RowError, row_from
from onerec.data.text.render import Rendered, Renderer

Item = TypeVar("Item")
ROWS_AT_A_TIME = 16


@dataclass(frozen=True)
class Trial:
    """One row, and the samples it gives; `reason` says why where it gives none."""

    record: Record
    source: str
    """Source of the row; empty where the row has no usable one."""
    uuid: str
    samples: tuple[Rendered, ...]
    """Several where a long text is split."""
    reason: str = ""
    excerpt: str = ""
    is_overlong: bool = False
    """Whether the row is longer than max_sample_length."""

    @property
    def is_rejected(self) -> bool:
        """Whether preparing counts the row as rejected; rows that are too long and dropped are not."""
        return bool(self.reason) and not self.is_overlong


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items, evenly spaced, the first one among them."""
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def candidates(locations: Sequence[str], *, files: int, rows_per_file: int) -> Iterator[Record]:
    """The first rows of evenly spaced files: the first of each file, then the second of each, and so on."""
    columns = [sample_records(location, rows_per_file) for location in spread(locations, files)]
    for record in chain.from_iterable(zip_longest(*columns)):
        if record is not None:
            yield record


def try_rows(records: Iterable[Record], renderer: Renderer, dataset: Dataset) -> Iterator[Trial]:
    """What becomes of each row; rendered a few at a time, so that a caller may stop early."""
    stream = iter(records)
    while group := list(islice(stream, ROWS_AT_A_TIME)):
        rows = [row_or_error(record) for record in group]
        rendered = iter(renderer.render_many([row for row in rows if isinstance(row, Row)]))
        for record, row in zip(group, rows, strict=True):
            yield _trial(record, row, row if isinstance(row, RowError) else next(rendered), dataset)


def check_rows(records: Iterable[Record]) -> Iterator[Trial]:
    """The same without a tokenizer: the field rules alone, and no samples."""
    for record in records:
        row = row_or_error(record)
        if isinstance(row, RowError):
            yield _rejected(record, row)
        else:
            yield Trial(record, row.source, row.uuid, ())


def row_or_error(record: Record) -> Row | RowError:
    """The row of a record, or why it breaks the field rules."""
    try:
        return row_from(record)
    except RowError as fault:
        return fault


def _trial(record: Record, row: Row | RowError, result: Rendered | RowError, dataset: Dataset) -> Trial:
    if isinstance(row, RowError) or isinstance(result, RowError):
        fault = row if isinstance(row, RowError) else result
        assert isinstance(fault, RowError)
        return _rejected(record, fault)
    length, limit = len(result.input_ids), dataset.max_sample_length or dataset.max_length
    if length <= limit:
        return Trial(record, row.source, row.uuid, (result,))
    if dataset.overlong == "split" and row.segments is not None:
        return Trial(record, row.source, row.uuid, tuple(pieces_of(result, limit)), is_overlong=True)
    outcome = "preparing fails" if dataset.overlong == "error" else "dropped"
    reason = f"{length:,} tokens, max_sample_length is {limit:,}: {outcome}"
    return Trial(record, row.source, row.uuid, (), reason=reason, is_overlong=True)


def _rejected(record: Record, fault: RowError) -> Trial:
    source = record.values.get("source")
    known = source if isinstance(source, str) and source.isprintable() else ""
    return Trial(record, known, "", (), reason=fault.reason, excerpt=fault.excerpt)
