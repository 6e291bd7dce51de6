"""Merge parquet trees and split them, in order, into files of equal numbers of rows, with a file list.

Rows stream through: memory holds a few pieces of rows, whatever the size of the files. The folder appears
whole or not at all; what it holds is never read as input, and one with anything else in it is not touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.config import ShardConfig
from onerec.data.source.filesystem import LOCAL, is_url, place_of, shown
from onerec.data.source.read import batches, needed_columns, schema_and_rows, values_of
from onerec.data.source.schemas import conformed, unified_schema
from onerec.data.source.sources import DataFile, find_files, in_threads
from onerec.data.source.validate import Record, Row, RowError, row_from
from onerec.errors import ConfigError, DataError, StorageError
from onerec.progress import Progress, say, sync_directory, write_json_atomically

RECORD = "shard.json"
FILE_LIST = "file_list.json"
REJECTS = "rejects.jsonl"
ROW_GROUP_BYTES = 32 << 20
"""Rows that are gathered in memory before they are written as a row group."""
REJECTS_SHOWN = 3


def shard(config: ShardConfig) -> dict[str, object]:
    """Write the shards to `config.output_dir`, or take them as they are if the same call made them before.

    Returns counts of files, rows and rejects. Raises DataError for unreadable sources, columns whose types
    clash and too many rejects, ConfigError for a folder that holds something else, StorageError for a failing
    disk.
    """
    if is_url(config.output_dir):
        raise ConfigError(f"{shown(config.output_dir)}: shards are written to local folders; name one")
    output = Path(config.output_dir).absolute()
    files = _inputs(config.sources, output)
    request = _request(files, config)
    kept = _kept(output, request)
    if kept is not None:
        say(f"shard: taking the {kept['rows']:,} rows in {output} as they are")
        return {**kept, "reused": True}
    try:
        with _working_folder(output) as folder:
            summary = _write(files, config, folder=folder, request=request)
            _take_place(folder, output)
    except OSError as fault:
        raise StorageError(f"{output}: cannot be written: {fault}; mend the disk, then run again") from fault
    say(
        f"shard: {summary['rows']:,} rows of {len(files):,} files in {summary['files']:,} files of "
        f"{config.rows_per_file:,} rows in {output}; {summary['rejected']:,} rows rejected"
    )
    return {**summary, "reused": False}


def _inputs(sources: Sequence[str], output: Path) -> tuple[DataFile, ...]:
    """Files of the sources but those in the output folder."""
    found = find_files(sources, keeps_order=True)
    home = os.path.realpath(output)
    files = tuple(file for file in found if not _is_in(file.location, home))
    if not files:
        raise DataError(
            f"{', '.join(map(shown, sources))}: nothing but the output folder; correct the sources"
        )
    if len(files) < len(found):
        say(f"shard: not reading the {len(found) - len(files):,} files in {output} itself", is_warning=True)
    return files


def _is_in(location: str, home: str) -> bool:
    place = place_of(location)
    return place.scheme in LOCAL and os.path.realpath(place.path).startswith(f"{home}{os.sep}")


def _request(files: Sequence[DataFile], config: ShardConfig) -> str:
    """A name for what is asked: the same files and options."""
    asked = [[file.identity for file in files], config.rows_per_file, config.max_reject_fraction]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _kept(output: Path, request: str) -> dict[str, Any] | None:
    """Summary of the shards that are there; raises ConfigError when the folder holds anything else."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    remedy = "name a new folder, or move this one away"
    if not (output / RECORD).is_file():
        raise ConfigError(f"{output}: is not empty and holds no shards; {remedy}")
    record: dict[str, Any] = json.loads((output / RECORD).read_bytes())
    if record["request"] != request:
        raise ConfigError(f"{output}: holds the shards of other sources or options; {remedy}")
    damaged = [name for name, size in record["parts"].items() if _size(output / name) != size]
    if damaged:
        raise ConfigError(f"{output / damaged[0]}: is not as it was written; {remedy}")
    summary: dict[str, Any] = record["summary"]
    return summary


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


@contextmanager
def _working_folder(output: Path) -> Iterator[Path]:
    """A hidden folder beside the output, ours alone; afterwards it is gone, or is the output."""
    folder = output.with_name(f".{output.name}.shard")
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(folder, descriptor):
            raise BlockingIOError  # the other process has just given the folder its name
    except BlockingIOError as fault:
        os.close(descriptor)
        raise ConfigError(f"{output}: another process is writing it; wait for it") from fault
    try:
        _clear(folder)
        yield folder
    finally:
        if _is_at(folder, descriptor):
            shutil.rmtree(folder)
        os.close(descriptor)


def _is_at(folder: Path, descriptor: int) -> bool:
    """Whether an open folder is still the one that has this name."""
    return folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat())


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _take_place(folder: Path, output: Path) -> None:
    sync_directory(folder)
    folder.rename(output)  # fails where anything is in the output's place, but an empty folder
    sync_directory(output.parent)


def _write(files: Sequence[DataFile], config: ShardConfig, *, folder: Path, request: str) -> dict[str, Any]:
    """Everything that the folder is to hold, the file list last; returns the summary."""
    read = in_threads(lambda file: schema_and_rows(file.location), files)
    schema = unified_schema((file.location, found) for file, (found, _) in zip(files, read, strict=True))
    progress = Progress(folder, total=sum(rows for _, rows in read), unit="rows")
    parts = _Parts(folder, schema, config.rows_per_file)
    sources: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    done = 0
    with (folder / REJECTS).open("w", encoding="utf-8") as rejects:
        for file in files:
            for batch in _sound(file.location, rejects, sources, reasons):
                parts.add(conformed(batch, schema))
                done = sources.total() + reasons.total()
                progress.update(done)
    parts.end()
    _check_rejects(folder, config, rows=done, rejected=reasons.total())
    if not sources:
        raise DataError(f"{', '.join(map(shown, config.sources))}: no rows; correct the sources")
    named = parts.named()
    summary = {
        "files": len(named),
        "rows": sources.total(),
        "rejected": reasons.total(),
        "rejects": dict(sorted(reasons.items())),
        "sources": dict(sorted(sources.items())),
        "input_files": len(files),
        "bytes": sum(named.values()),
    }
    write_json_atomically(folder / RECORD, {"request": request, "parts": named, "summary": summary})
    write_json_atomically(folder / FILE_LIST, list(named))
    return summary


def _sound(
    location: str, rejects: IO[str], sources: Counter[str], reasons: Counter[str]
) -> Iterator[pa.RecordBatch]:
    """Batches of one file without the rows that break a rule, which are written down; rows are counted."""
    number = 0
    for batch in batches(location, all_columns=True):
        is_sound = []
        for values in values_of(batch.select(needed_columns(batch.schema.names, location))):
            result = _row_or_error(Record(file=location, row=number, values=values))
            is_sound.append(isinstance(result, Row))
            if isinstance(result, Row):
                sources[result.source] += 1
            else:
                reasons[result.reason] += 1
                line = {"file": shown(location), "row": number, "source": _source_of(values)}
                rejects.write(json.dumps({**line, "reason": result.reason, "excerpt": result.excerpt}) + "\n")
            number += 1
        yield batch if all(is_sound) else batch.filter(pa.array(is_sound))


def _row_or_error(record: Record) -> Row | RowError:
    try:
        return row_from(record)
    except RowError as fault:
        return fault


def _source_of(values: dict[str, Any]) -> str:
    source = values.get("source")
    return source if isinstance(source, str) and source.isprintable() else ""


def _check_rejects(folder: Path, config: ShardConfig, *, rows: int, rejected: int) -> None:
    """Raise DataError when too many rows were rejected; all of them are then beside the output folder."""
    path = folder / REJECTS
    if rejected <= config.max_reject_fraction * rows:
        if not rejected:
            path.unlink()
        return
    with path.open(encoding="utf-8") as lines:
        first = [json.loads(line) for line, _ in zip(lines, range(REJECTS_SHOWN), strict=False)]
    told = path.replace(Path(f"{Path(config.output_dir).absolute()}.{REJECTS}"))
    examples = "".join(
        f"\n  {line['file']}, row {line['row']}: {line['reason']}: {line['excerpt']}" for line in first
    )
    raise DataError(
        f"{rejected:,} of {rows:,} rows break a rule, max_reject_fraction is {config.max_reject_fraction}; "
        f"correct them or raise it; all of them are in {told}, the first are:{examples}"
    )


class _Parts:
    """Writes rows one after the other to files of `rows_per_file` rows, which get their names at the end."""

    def __init__(self, folder: Path, schema: pa.Schema, rows_per_file: int) -> None:
        self._folder, self._schema, self._rows_per_file = folder, schema, rows_per_file
        self._paths: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._gathered: list[pa.RecordBatch] = []
        self._gathered_bytes = 0
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Write rows, to as many files as they fill."""
        while batch.num_rows:
            taken = batch.slice(0, self._rows_per_file - self._rows)
            batch = batch.slice(taken.num_rows)
            self._gathered.append(taken)
            self._gathered_bytes += taken.nbytes
            self._rows += taken.num_rows
            if self._rows == self._rows_per_file:
                self.end()
            elif self._gathered_bytes >= ROW_GROUP_BYTES:
                self._write()

    def _write(self) -> None:
        if self._writer is None:
            # no .parquet until the whole folder is there
            self._paths.append(self._folder / f"part-{len(self._paths):05d}.tmp")
            self._writer = pq.ParquetWriter(
                self._paths[-1], self._schema, compression="zstd", write_page_checksum=True
            )
        self._writer.write_table(pa.Table.from_batches(self._gathered, self._schema))
        self._gathered, self._gathered_bytes = [], 0

    def end(self) -> None:
        """End the file at hand, if there is one, and flush it to disk."""
        if self._rows:
            self._write()
            assert self._writer is not None
            self._writer.close()
            _flush(self._paths[-1])
        self._writer, self._rows = None, 0

    def named(self) -> dict[str, int]:
        """Give the files their names; returns name and bytes of each, in order."""
        count = len(self._paths)
        width = max(5, len(str(count)))
        sizes = {}
        for number, path in enumerate(self._paths):
            name = f"part-{number:0{width}d}-of-{count:0{width}d}.parquet"
            sizes[name] = path.rename(path.with_name(name)).stat().st_size
        return sizes


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
