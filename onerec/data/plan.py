"""The packs of an epoch: which samples stand together, and in which order the packs come.

A plan is a pure function of the data, the sizes, the seed and the epoch. It is kept as mapped arrays beside
the store, so that the ranks and workers of a machine make it once and share its memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onerec.data.order import shuffled
from onerec.data.pack import best_fit

VERSION = 1
ARRAYS = ("samples", "offsets", "order")


@dataclass(frozen=True)
class PlanKey:
    """All that decides the packs of every epoch."""

    fingerprint: str
    """The store's fingerprint."""
    seed: int
    max_length: int
    """Tokens of a pack."""
    local_shuffle_buffer_size: int
    """Samples within which packs are put together."""

    @property
    def digest(self) -> str:
        """A name for these packs; other data, sizes or seed have another."""
        text = json.dumps([VERSION, *self.__dict__.values()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class EpochPlan:
    """The packs of one epoch; pack number p is `samples[offsets[order[p]] : offsets[order[p] + 1]]`."""

    samples: npt.NDArray[np.uint32]
    """Every sample once, pack by pack."""
    offsets: npt.NDArray[np.int64]
    """Where each pack begins in `samples`; one more than there are packs."""
    order: npt.NDArray[np.uint32]
    """In which order the packs come."""

    def __len__(self) -> int:
        return len(self.order)

    def pack(self, number: int) -> npt.NDArray[np.uint32]:
        """Samples of pack `number` of the epoch."""
        place = int(self.order[number])
        return self.samples[self.offsets[place] : self.offsets[place + 1]]


def plan_epoch(lengths: npt.NDArray[np.int32], key: PlanKey, epoch: int) -> EpochPlan:
    """Shuffle all samples, pack each window of them by best fit, shuffle the packs."""
    samples = shuffled(len(lengths), key=(key.fingerprint, key.seed, epoch, "samples"))
    sizes = []
    for start in range(0, len(samples), key.local_shuffle_buffer_size):
        window = samples[start : start + key.local_shuffle_buffer_size]
        packs, count = best_fit(lengths[window], key.max_length)
        window[:] = window[np.argsort(packs, kind="stable")]
        sizes.append(np.bincount(packs, minlength=count))
    offsets = np.zeros(sum(map(len, sizes)) + 1, dtype=np.int64)
    np.cumsum(np.concatenate(sizes), out=offsets[1:])
    order = shuffled(len(offsets) - 1, key=(key.fingerprint, key.seed, epoch, "packs"))
    return EpochPlan(samples, offsets, order)


def plan_paths(
    plans_dir: Path, lengths: npt.NDArray[np.int32], key: PlanKey, epochs: int
) -> tuple[Path, ...]:
    """Folders of the plans of all epochs, making those that are not there yet.

    Where the store cannot be written to, plans go to a folder of this process that is removed when it ends.
    """
    folder = _writable(plans_dir)
    with _alone_in(folder):
        return tuple(_kept(folder, lengths, key, epoch) for epoch in range(epochs))


def open_plan(folder: Path) -> EpochPlan:
    """The plan in a folder that `plan_paths` named, as mapped arrays."""
    return EpochPlan(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS))


def _kept(plans_dir: Path, lengths: npt.NDArray[np.int32], key: PlanKey, epoch: int) -> Path:
    folder = plans_dir / f"{key.digest}-epoch{epoch}"
    if folder.is_dir():
        return folder
    plan = plan_epoch(lengths, key, epoch)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=plans_dir))
    for name in ARRAYS:
        np.save(temporary / f"{name}.npy", getattr(plan, name))
    with suppress(OSError):  # another machine was quicker with the same plan
        temporary.rename(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _writable(plans_dir: Path) -> Path:
    try:
        plans_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=plans_dir):
            return plans_dir
    except OSError:
        return _own_folder()


def _own_folder() -> Path:
    # the finalizer of TemporaryDirectory runs at exit; the object has to live until then
    _OWN.append(tempfile.TemporaryDirectory(prefix="onerec-plans-"))
    return Path(_OWN[-1].name)


_OWN: list[tempfile.TemporaryDirectory[str]] = []


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that one rank makes a plan and the others wait; some disks have no locks."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
