"""One pack as arrays and as tensors: ids, labels, positions and document borders of one micro-step.

Shapes: T is tokens of the pack with padding, D its documents with padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onerec.data.label import IGNORED, Int32Array, labels_of
from onerec.data.store import StoredSample

PADDING_SOURCE = -1
FILLER = -1
"""Number of a pack that only fills a step up: nothing in it is trained."""


@dataclass(frozen=True)
class Pack:
    """One micro-step of one rank; tensors are on the CPU."""

    input_ids_T: torch.Tensor
    """int64."""
    labels_T: torch.Tensor
    """int64; label i is what position i predicts, -100 where nothing is trained."""
    position_ids_T: torch.Tensor
    """int64; from 0 in each document."""
    cu_seqlens: torch.Tensor
    """int32, shape D + 1: where each document begins, and T; padding is a document of its own."""
    max_seqlen: int
    """Tokens of the longest document, padding included."""
    document_sources: torch.Tensor
    """int64, shape D: place in the loader's sources, -1 for padding."""
    samples: int
    """Documents without padding."""
    tokens: int
    """Tokens without padding."""
    trained_tokens: int
    """Labels that are not -100."""
    uuids: tuple[str, ...]
    """One for each sample."""
    pack: int
    """Number of the pack in the run, -1 for a filler."""


@dataclass(frozen=True)
class PackArrays:
    """What a worker hands over: small, without tensors, so that no shared memory is needed."""

    input_ids: Int32Array
    labels: Int32Array
    lengths: Int32Array
    """Tokens of each document, padding included."""
    sources: Int32Array
    uuids: tuple[str, ...]
    pack: int


def pack_arrays(samples: Sequence[StoredSample], *, pack: int, pad_id: int, pad_to: int | None) -> PackArrays:
    """Samples one after the other, and padding up to `pad_to` tokens; a pack is at least one token long."""
    tokens = sum(len(sample.input_ids) for sample in samples)
    padding = max(1 if not samples else 0, (pad_to or tokens) - tokens)
    input_ids, labels = np.full((2, tokens + padding), (pad_id,), dtype=np.int32)
    labels[:] = IGNORED
    at = 0
    for sample in samples:
        end = at + len(sample.input_ids)
        input_ids[at:end] = sample.input_ids
        labels[at:end] = labels_of(sample.input_ids, sample.spans)
        at = end
    lengths = [len(sample.input_ids) for sample in samples]
    sources = [sample.source for sample in samples]
    return PackArrays(
        input_ids=input_ids,
        labels=labels,
        lengths=np.array([*lengths, padding] if padding else lengths, dtype=np.int32),
        sources=np.array([*sources, PADDING_SOURCE] if padding else sources, dtype=np.int32),
        uuids=tuple(sample.uuid for sample in samples),
        pack=pack,
    )


def pack_of(arrays: PackArrays) -> Pack:
    """Tensors of a pack."""
    ends = np.cumsum(arrays.lengths, dtype=np.int64)
    starts = ends - arrays.lengths
    positions: npt.NDArray[np.int64] = np.arange(ends[-1]) - np.repeat(starts, arrays.lengths)
    samples = len(arrays.uuids)
    return Pack(
        input_ids_T=torch.from_numpy(arrays.input_ids.astype(np.int64)),
        labels_T=torch.from_numpy(arrays.labels.astype(np.int64)),
        position_ids_T=torch.from_numpy(positions),
        cu_seqlens=torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)),
        max_seqlen=int(arrays.lengths.max()),
        document_sources=torch.from_numpy(arrays.sources.astype(np.int64)),
        samples=samples,
        tokens=int(arrays.lengths[:samples].sum()),
        trained_tokens=int(np.count_nonzero(arrays.labels != IGNORED)),
        uuids=arrays.uuids,
        pack=arrays.pack,
    )
