"""Tokenise one parquet file into one Arrow file, with a report beside it that says what became of every row.

The report is written last and makes the pair complete: after a kill, only the files it was at are done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa

from onerec.data.preparation.columns import SCHEMA, Sample, Totals, columns_of
from onerec.data.preparation.overlong import TokenBound, is_large
from onerec.data.preparation.report import FileReport, Options
from onerec.data.source.read import footer, records
from onerec.data.source.sources import shown
from onerec.data.source.validate import Record, Row, RowError, row_from
from onerec.data.text.chat import Span
from onerec.data.text.render import Rendered, Renderer
from onerec.errors import DataError
from onerec.progress import write_json_atomically

ROWS_PER_BATCH = 256
CHARACTERS_PER_BATCH = 1 << 21
TOKENS_PER_WRITE = 1 << 20


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


@dataclass(frozen=True)
class Done:
    """How far a file is."""

    share: float
    """Share of its rows."""
    samples: int
    tokens: int


@dataclass(frozen=True)
class TooLong:
    """A row that has more tokens than a sample may have, which was seen without counting them."""

    row: Row


Fate = RowError | TooLong | tuple[Row, Rendered]
"""What becomes of a row."""


def tokenise_file(
    location: str, paths: TokenPaths, renderer: Renderer, options: Options
) -> Generator[Done, None, None]:
    """Write the tokens, rejects and report of one file; yields now and then how far it is.

    Raises DataError when the file cannot be read. Nothing is left behind when it is closed before the end.
    """
    report = FileReport()
    total = footer(location).rows
    with _Output(paths, report, options) as output:
        for batch in batches(records(location)):
            for record, fate in _fates(batch, renderer, options):
                report.rows += 1
                output.take(record, fate)
            yield Done(report.rows / max(total, 1), output.samples, output.tokens)
    write_json_atomically(paths.report, report.to_json())


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


def _fates(batch: list[Record], renderer: Renderer, options: Options) -> Iterator[tuple[Record, Fate]]:
    rows = [_row_or_fate(record, renderer, options) for record in batch]
    results = iter(renderer.render_many([row for row in rows if isinstance(row, Row)]))
    for record, row in zip(batch, rows, strict=True):
        if isinstance(row, Row):
            result = next(results)
            yield record, result if isinstance(result, RowError) else (row, result)
        else:
            yield record, row


def _row_or_fate(record: Record, renderer: Renderer, options: Options) -> Row | RowError | TooLong:
    try:
        row = row_from(record)
        drops = options.drops(is_chat=row.messages is not None)
        return TooLong(row) if drops and is_large(row) and _is_too_long(row, renderer, options) else row
    except RowError as fault:
        return fault


def _is_too_long(row: Row, renderer: Renderer, options: Options) -> bool:
    """Whether a row, which trains something, surely has more tokens than a sample may have."""
    script = renderer.script_of(row)
    bound = TokenBound.of(renderer.tokenizer.backend_tokenizer)
    trains = script.spans is None or len(script.spans) > 0
    return trains and bound.exceeds(script.text, options.max_sample_length)


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
        self._places: dict[str, int] = {}
        self._waiting: list[Sample] = []
        self._waiting_tokens = 0
        self.samples = self.tokens = 0

    def __enter__(self) -> _Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        for file in (self._sink, self._rejects):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        for temporary, path in zip(self._temporary, self._paths, strict=True):
            if kind is None:
                temporary.replace(path)
            else:
                temporary.unlink()

    def take(self, record: Record, fate: Fate) -> None:
        """Store a row, or count and write down why it is not stored."""
        if isinstance(fate, RowError):
            self._reject(record, fate)
        elif isinstance(fate, TooLong):
            self._place_of(fate.row.source)
            self._report.of(fate.row.source).overlong_dropped += 1
        else:
            self._keep(*fate)

    def _reject(self, record: Record, fault: RowError) -> None:
        value = record.values.get("source")
        source = value if isinstance(value, str) and value.isprintable() else ""
        self._place_of(source)
        self._report.of(source).rejects[fault.reason] += 1
        line = {"file": shown(record.file), "row": record.row, "source": source}
        self._rejects.write(json.dumps({**line, "reason": fault.reason, "excerpt": fault.excerpt}) + "\n")

    def _keep(self, row: Row, rendered: Rendered) -> None:
        """Store a row as one sample, or as `overlong` says when it is too long."""
        length, limit = len(rendered.input_ids), self._options.max_sample_length
        place = self._place_of(row.source)
        if length <= limit:
            self._add(Sample(row, rendered, place))
        elif self._options.overlong == "error":
            raise DataError(
                f"{shown(row.file)}, row {row.row}: {length} tokens, max_sample_length is {limit}; "
                'shorten the row, raise max_sample_length, or set overlong to "split" or "drop"'
            )
        elif self._options.drops(is_chat=row.segments is None):
            self._report.of(row.source).overlong_dropped += 1
        else:
            self._report.of(row.source).overlong_split += 1
            for piece, part in enumerate(pieces_of(rendered, limit)):
                self._add(Sample(row, part, place, piece))

    def _place_of(self, source: str) -> int:
        """Place of a source in the report, which it gets with its first row."""
        if source not in self._places:
            self._places[source] = len(self._places)
            self._report.of(source)
        return self._places[source]

    def _add(self, sample: Sample) -> None:
        self._waiting.append(sample)
        self._waiting_tokens += len(sample.rendered.input_ids)
        self.samples += 1
        self.tokens += len(sample.rendered.input_ids)
        if self._waiting_tokens >= TOKENS_PER_WRITE:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            batch, totals = columns_of(self._waiting, self._options.itemic_ids, len(self._places))
            self._writer.write_batch(batch)
            self._count(totals)
        self._waiting, self._waiting_tokens = [], 0

    def _count(self, totals: Totals) -> None:
        for source, place in self._places.items():
            counts = self._report.of(source)
            counts.samples += int(totals.samples[place])
            counts.tokens += int(totals.tokens[place])
            counts.trained_tokens += int(totals.trained[place])
            counts.itemic_tokens += int(totals.itemic[place])
