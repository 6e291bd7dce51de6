"""One pack as arrays and as tensors: ids, labels, positions and document borders of one micro-step.

Shapes: T is tokens of the pack with padding, D its documents with padding, N its trained tokens, S the
loader's sources. What the trainer counts by source is worked out here, so that data workers do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from onerec.data.store.store import StoredSample
from onerec.data.text.label import IGNORED, Int32Array, labels_of

PADDING_SOURCE = -1
FILLER = -1
"""Number of a pack that only fills a step up: nothing in it is trained."""


@dataclass(frozen=True)
class Kinds:
    """What tokens are told apart by: their sources, and whether they are itemic."""

    num_sources: int
    itemic_ids: range

    def cells_of(self, sources_N: Int32Array, labels_N: Int32Array) -> Int32Array:
        """2 x source, + 1 where the label is itemic."""
        is_itemic_N = (labels_N >= self.itemic_ids.start) & (labels_N < self.itemic_ids.stop)
        return 2 * sources_N + is_itemic_N.astype(np.int32)

    def read_of(self, sources_D: Int32Array, lengths_D: Int32Array) -> npt.NDArray[np.int64]:
        """Tokens and samples of each source, int64 of shape S x 2; padding is not counted."""
        sources, lengths = (values[sources_D != PADDING_SOURCE] for values in (sources_D, lengths_D))
        tokens_S = np.bincount(sources, weights=lengths, minlength=self.num_sources).astype(np.int64)
        return np.stack([tokens_S, np.bincount(sources, minlength=self.num_sources)], axis=1)


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
    trained_N: torch.Tensor
    """int64; the N positions whose label is not -100."""
    trained_labels_N: torch.Tensor
    """int64; their labels."""
    cells_N: torch.Tensor
    """int64; of each one 2 x place of its source in the loader's sources, + 1 where the label is itemic."""
    trained_S2: torch.Tensor
    """int64; trained tokens of each source: [text, itemic]."""
    read_S2: torch.Tensor
    """int64; what is read of each source, padding left out: [tokens, samples]."""


@dataclass(frozen=True)
class PackArrays:
    """What a worker hands over: small, without tensors, so that no shared memory is needed."""

    input_ids: Int32Array
    labels: Int32Array
    trained: Int32Array
    """Positions that have a label."""
    cells: Int32Array
    """Source and kind of each of them, as in Pack."""
    trained_S2: npt.NDArray[np.int64]
    read_S2: npt.NDArray[np.int64]
    lengths: Int32Array
    """Tokens of each document, padding included."""
    sources: Int32Array
    uuids: tuple[str, ...]
    pack: int


def pack_arrays(
    samples: Sequence[StoredSample], kinds: Kinds, *, pack: int, pad_id: int, pad_to: int | None
) -> PackArrays:
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
    lengths = [len(sample.input_ids) for sample in samples] + ([padding] if padding else [])
    sources = [sample.source for sample in samples] + ([PADDING_SOURCE] if padding else [])
    return packed(
        input_ids,
        labels,
        kinds,
        lengths=np.array(lengths, dtype=np.int32),
        sources=np.array(sources, dtype=np.int32),
        uuids=tuple(sample.uuid for sample in samples),
        pack=pack,
    )


def packed(
    input_ids: Int32Array,
    labels: Int32Array,
    kinds: Kinds,
    *,
    lengths: Int32Array,
    sources: Int32Array,
    uuids: tuple[str, ...],
    pack: int,
) -> PackArrays:
    """Documents of these lengths and sources as a pack, with what a worker can work out for the trainer."""
    trained = np.flatnonzero(labels != IGNORED).astype(np.int32)
    documents = np.searchsorted(np.cumsum(lengths), trained, side="right")
    cells = kinds.cells_of(sources[documents], labels[trained])
    trained_S2 = np.bincount(cells, minlength=2 * kinds.num_sources).reshape(-1, 2)
    read_S2 = kinds.read_of(sources, lengths)
    return PackArrays(
        input_ids, labels, trained, cells, trained_S2, read_S2, lengths, sources, uuids=uuids, pack=pack
    )


def pack_of(arrays: PackArrays) -> Pack:
    """Tensors of a pack."""
    ends = np.cumsum(arrays.lengths, dtype=np.int64)
    starts = ends - arrays.lengths
    positions: npt.NDArray[np.int64] = np.arange(ends[-1]) - np.repeat(starts, arrays.lengths)
    samples = len(arrays.uuids)
    return Pack(
        input_ids_T=_as_int64(arrays.input_ids),
        labels_T=_as_int64(arrays.labels),
        position_ids_T=torch.from_numpy(positions),
        trained_N=_as_int64(arrays.trained),
        trained_labels_N=_as_int64(arrays.labels[arrays.trained]),
        cells_N=_as_int64(arrays.cells),
        trained_S2=torch.from_numpy(arrays.trained_S2),
        read_S2=torch.from_numpy(arrays.read_S2),
        cu_seqlens=torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)),
        max_seqlen=int(arrays.lengths.max()),
        document_sources=_as_int64(arrays.sources),
        samples=samples,
        tokens=int(arrays.lengths[:samples].sum()),
        trained_tokens=len(arrays.trained),
        uuids=arrays.uuids,
        pack=arrays.pack,
    )


def _as_int64(values: Int32Array) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))
