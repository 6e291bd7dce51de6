"""The columns of a token file, put together many samples at a time.

What is counted of each sample - tokens, trained tokens, itemic tokens - is counted here, in whole columns.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from onerec.data.source.validate import Row
from onerec.data.text.label import Int32Array
from onerec.data.text.render import Rendered

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
HEX_DIGITS, HASH_BYTES = 32, 16

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """One sample to be stored; `piece` counts the pieces of a row that was split."""

    row: Row
    rendered: Rendered
    source: int
    """Place of its source in the report."""
    piece: int = 0


@dataclass(frozen=True)
class Totals:
    """Counts of samples, one number for each source of the report."""

    samples: Int64Array
    tokens: Int64Array
    trained: Int64Array
    itemic: Int64Array


def columns_of(
    samples: Sequence[Sample], itemic_ids: tuple[int, int], sources: int
) -> tuple[pa.RecordBatch, Totals]:
    """One or more samples as a piece of a token file, and their counts for each of `sources` sources."""
    ids, offsets = _joined([sample.rendered.input_ids for sample in samples])
    borders, border_offsets = _joined([_flat(sample.rendered.spans) for sample in samples])
    trained = trained_tokens(borders, border_offsets)
    source = np.fromiter((sample.source for sample in samples), np.int32, len(samples))
    batch = pa.record_batch(
        [
            pa.ListArray.from_arrays(offsets, ids),
            pa.ListArray.from_arrays(border_offsets, borders),
            pa.array(trained.astype(np.int32)),
            pa.array(source),
            pa.array([sample.row.uuid for sample in samples], pa.string()),
            pa.array(uuid_hashes([sample.row.uuid for sample in samples])),
            pa.array([sample.row.row for sample in samples], pa.int64()),
            pa.array([sample.piece for sample in samples], pa.int32()),
        ],
        schema=SCHEMA,
    )
    itemic = _sums((ids >= itemic_ids[0]) & (ids <= itemic_ids[1]), offsets)
    parts = (np.ones_like(source), np.diff(offsets), trained, itemic)
    return batch, Totals(*(_by_source(source, part, sources) for part in parts))


def trained_tokens(borders: Int32Array, offsets: Int32Array) -> Int64Array:
    """Labels of each sample: every token of its spans but a sample's first, which nothing predicts.

    Spans are start, end, start, end, ...; sample n has those from offsets[n] to offsets[n + 1].
    """
    lengths = borders[1::2] - np.maximum(borders[0::2], 1)
    return _sums(np.maximum(lengths, 0), offsets // 2)


def _joined(lists: Sequence[Sequence[int] | Int32Array]) -> tuple[Int32Array, Int32Array]:
    """Lists one after the other, and where each begins; one more offset than there are lists."""
    offsets = np.zeros(len(lists) + 1, dtype=np.int32)
    np.cumsum([len(values) for values in lists], out=offsets[1:])
    if isinstance(lists[0], list):  # a quarter faster than list by list
        return np.fromiter(chain.from_iterable(lists), np.int32, offsets[-1]), offsets
    return np.concatenate(lists).astype(np.int32, copy=False), offsets


def _flat(spans: Iterable[tuple[int, int]]) -> list[int]:
    return [border for span in spans for border in span]


def _sums(values: npt.NDArray[np.generic], offsets: Int32Array) -> Int64Array:
    """Sum of the values from each offset to the next."""
    running = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=running[1:])
    return running[offsets[1:]] - running[offsets[:-1]]


def _by_source(source: Int32Array, values: npt.NDArray[np.generic], sources: int) -> Int64Array:
    sums = np.zeros(sources, dtype=np.int64)
    np.add.at(sums, source, values)
    return sums


def uuid_hashes(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """64 bits of each UUID, equal for equal UUIDs however they are spelled."""
    digits = "".join(texts).replace("-", "")
    try:
        numbers = bytes.fromhex(digits if len(digits) == HEX_DIGITS * len(texts) else "")
    except ValueError:
        numbers = b""
    if len(numbers) != HASH_BYTES * len(texts):  # one has another spelling, such as urn:uuid:
        numbers = b"".join(uuid.UUID(text).bytes for text in texts)
    halves = np.frombuffer(numbers, dtype=">u8").reshape(-1, 2)
    return (halves[:, 0] ^ halves[:, 1]).astype(np.uint64)


def uuid_hash(text: str) -> int:
    """The same for one UUID."""
    return int(uuid_hashes([text])[0])
