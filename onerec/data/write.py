"""Tokenise one parquet file into one Arrow file, with a report beside it that says what became of every row.

The report is written last and makes the pair complete: after a kill, only the files it was at are done again.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

from onerec.data.label import Int32Array, count_trained
from onerec.data.read import records
from onerec.data.render import Rendered, Renderer, Span
from onerec.data.report import FileReport, Options
from onerec.data.sources import shown
from onerec.data.validate import Record, Row, RowError, row_from
from onerec.errors import DataError
from onerec.progress import write_json_atomically

SCHEMA = pa.schema(
    {
        "input_ids": pa.list_(pa.int32()),
        "spans": pa.list_(pa.int32()),
        "trained": pa.int32(),
        "source": pa.int32(),
        "uuid": pa.string(),
        "uuid_hash": pa.uint64(),
        "row": pa.int64(),
        "piece": pa.int32(),
    }
)
"""Columns of a token file: spans are start, end, start, end, ...; source is a place in the report."""
ROWS_PER_BATCH = 256
CHARACTERS_PER_BATCH = 1 << 22
TOKENS_PER_WRITE = 1 << 21


@dataclass(frozen=True)
class Sample:
    """One sample to be stored; `piece` counts the pieces of a row that was split."""

    row: Row
    input_ids: Int32Array
    spans: list[Span]
    piece: int


@dataclass(frozen=True)
class TokenPaths:
    """Files that stand for one input file."""

    tokens: Path
    rejects: Path
    report: Path

    @classmethod
    def of(cls, folder: Path, key: str) -> TokenPaths:
        """Paths of the input file whose identity and options have this key."""
        return cls(folder / f"{key}.arrow", folder / f"{key}.rejects.jsonl", folder / f"{key}.json")


def tokenise_file(location: str, paths: TokenPaths, renderer: Renderer, options: Options) -> FileReport:
    """Write the tokens, rejects and report of one file; raises DataError when the file cannot be read."""
    report = FileReport()
    with _Output(paths, report, options) as output:
        for batch in batches(records(location)):
            for record, result in _rendered(batch, renderer):
                report.rows += 1
                if isinstance(result, RowError):
                    output.reject(record, result)
                else:
                    output.keep(*result)
    write_json_atomically(paths.report, report.to_json())
    return report


def batches(stream: Iterator[Record]) -> Iterator[list[Record]]:
    """Records in groups that are tokenised together, small enough for memory whatever the length of a row."""
    batch: list[Record] = []
    characters = 0
    for record in stream:
        batch.append(record)
        characters += sum(map(_size, record.values.values()))
        if len(batch) >= ROWS_PER_BATCH or characters >= CHARACTERS_PER_BATCH:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _size(value: object) -> int:
    """Rough number of characters of a column's value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 0


def _rendered(
    batch: list[Record], renderer: Renderer
) -> Iterator[tuple[Record, RowError | tuple[Row, Rendered]]]:
    rows = [_row_or_error(record) for record in batch]
    results = iter(renderer.render_many([row for row in rows if isinstance(row, Row)]))
    for record, row in zip(batch, rows, strict=True):
        if isinstance(row, RowError):
            yield record, row
        else:
            result = next(results)
            yield record, result if isinstance(result, RowError) else (row, result)


def _row_or_error(record: Record) -> Row | RowError:
    try:
        return row_from(record)
    except RowError as fault:
        return fault


def pieces_of(rendered: Rendered, limit: int) -> Iterator[Rendered]:
    """Consecutive pieces of at most `limit` tokens; each token is in one, and spans are cut with them."""
    for start in range(0, len(rendered.input_ids), limit):
        spans = [_cut(span, start, start + limit) for span in rendered.spans]
        ids = rendered.input_ids[start : start + limit]
        yield Rendered(ids, [(left, right) for left, right in spans if left < right])


def _cut(span: Span, start: int, end: int) -> Span:
    return max(span[0], start) - start, min(span[1], end) - start


class _Output:
    """Collects samples and rejects of one file; both get their names only when all of it went well."""

    def __init__(self, paths: TokenPaths, report: FileReport, options: Options) -> None:
        self._report, self._options = report, options
        self._paths = (paths.tokens, paths.rejects)
        self._temporary = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in self._paths]
        self._sink = self._temporary[0].open("wb")
        self._rejects = self._temporary[1].open("w", encoding="utf-8")
        self._writer = pa.ipc.new_file(self._sink, SCHEMA)
        self._source_numbers: dict[str, int] = {}
        self._samples: list[Sample] = []
        self._tokens = 0

    def __enter__(self) -> _Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()
        for file in (self._sink, self._rejects):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for temporary, path in zip(self._temporary, self._paths, strict=True):
            if error is None:
                temporary.replace(path)
            else:
                temporary.unlink()

    def reject(self, record: Record, fault: RowError) -> None:
        """Write a row that cannot be used down, and count it."""
        value = record.values.get("source")
        source = value if isinstance(value, str) and value.isprintable() else ""
        self._report.of(source).rejects[fault.reason] += 1
        line = {"file": shown(record.file), "row": record.row, "source": source}
        self._rejects.write(json.dumps({**line, "reason": fault.reason, "excerpt": fault.excerpt}) + "\n")

    def keep(self, row: Row, rendered: Rendered) -> None:
        """Store a row as one sample, or as `overlong` says when it is too long."""
        length, limit = len(rendered.input_ids), self._options.max_sample_length
        if length <= limit:
            self._add(row, rendered, piece=0)
        elif self._options.overlong == "error":
            raise DataError(
                f"{shown(row.file)}, row {row.row}: {length} tokens, max_sample_length is {limit}; "
                'shorten the row, raise max_sample_length, or set overlong to "split" or "drop"'
            )
        elif self._options.overlong == "split" and row.segments is not None:
            self._report.of(row.source).overlong_split += 1
            for piece, part in enumerate(pieces_of(rendered, limit)):
                self._add(row, part, piece=piece)
        else:
            self._report.of(row.source).overlong_dropped += 1

    def _add(self, row: Row, rendered: Rendered, *, piece: int) -> None:
        ids = np.array(rendered.input_ids, dtype=np.int32)
        first, last = self._options.itemic_ids
        counts = self._report.of(row.source)
        counts.samples += 1
        counts.tokens += len(ids)
        counts.trained_tokens += count_trained(rendered.spans)
        counts.itemic_tokens += int(np.count_nonzero((ids >= first) & (ids <= last)))
        self._source_numbers.setdefault(row.source, list(self._report.sources).index(row.source))
        self._samples.append(Sample(row, ids, rendered.spans, piece))
        self._tokens += len(ids)
        if self._tokens >= TOKENS_PER_WRITE:
            self._flush()

    def _flush(self) -> None:
        if self._samples:
            self._writer.write_batch(_record_batch(self._samples, self._source_numbers))
        self._samples, self._tokens = [], 0


def _record_batch(samples: list[Sample], source_numbers: dict[str, int]) -> pa.RecordBatch:
    columns = [
        _list_array([sample.input_ids for sample in samples]),
        _list_array([np.array(sample.spans, dtype=np.int32).reshape(-1) for sample in samples]),
        pa.array([count_trained(sample.spans) for sample in samples], pa.int32()),
        pa.array([source_numbers[sample.row.source] for sample in samples], pa.int32()),
        pa.array([sample.row.uuid for sample in samples], pa.string()),
        pa.array([uuid_hash(sample.row.uuid) for sample in samples], pa.uint64()),
        pa.array([sample.row.row for sample in samples], pa.int64()),
        pa.array([sample.piece for sample in samples], pa.int32()),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def _list_array(values: Sequence[Int32Array]) -> pa.Array:
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values)))


def uuid_hash(text: str) -> int:
    """64 bits of a UUID, equal for equal UUIDs however they are spelled."""
    number = uuid.UUID(text).int
    return (number >> 64) ^ (number & (2**64 - 1))
