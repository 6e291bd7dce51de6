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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onerec.data.order.pack import best_fit
from onerec.data.order.shuffle import BLOCK, CHUNK, block_groups, shuffled
from onerec.progress import say, sync_directory

VERSION = 1
TOLD_SAMPLES = 1_000_000
"""A plan of more takes so long that a person wants to know what is waited for."""
ARRAYS = ("samples", "offsets", "order")


Samples = npt.NDArray[np.uint32]
Lengths = npt.NDArray[np.int32]
Draw = Callable[[int], "Samples | None"]
"""The samples that an epoch reads, in the order of the store and with repeats; None is each of them once."""


@dataclass(frozen=True)
class PlanKey:
    """All that decides the packs of every epoch."""

    fingerprint: str
    """The fingerprint of the pool of samples."""
    seed: int
    max_length: int
    """Tokens of a pack."""
    local_shuffle_buffer_size: int
    """Samples within which packs are put together."""
    selection: str = ""
    """Digest of what is held out and how sources are mixed; empty when every sample is read once."""
    group_tokens: int | None = None
    """Tokens that are shuffled as a whole; None when all of them are."""

    @property
    def digest(self) -> str:
        """A name for these packs; other data, sizes, selection or seed have another."""
        values = list(self.__dict__.values())
        text = json.dumps([VERSION, *(values if self.selection or self.group_tokens else values[:4])])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class EpochPlan:
    """The packs of one epoch; pack number p is `samples[offsets[order[p]] : offsets[order[p] + 1]]`."""

    samples: npt.NDArray[np.uint32]
    """Every sample of the epoch, pack by pack."""
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


def plan_epoch(lengths: Lengths, key: PlanKey, epoch: int, drawn: Samples | None = None) -> EpochPlan:
    """Shuffle the samples, pack each window of them by best fit, shuffle the packs.

    `lengths` are of all samples, `drawn` those that the epoch reads. With `group_tokens` all of it is done
    group by group, each group holding blocks of neighbouring samples from all over the store.
    """
    groups: list[Samples] = []
    sizes = [np.zeros(0, dtype=np.int64)]
    orders = [np.zeros(0, dtype=np.uint32)]
    packs = 0
    for name, samples in _groups(lengths, key, epoch, drawn):
        counts = _pack_windows(samples, lengths, key)
        order = shuffled(len(counts), key=(key.fingerprint, key.seed, epoch, "packs", *name))
        order += np.uint32(packs)
        packs += len(counts)
        groups.append(samples)
        sizes.append(counts)
        orders.append(order)
    offsets = np.zeros(packs + 1, dtype=np.int64)
    np.cumsum(np.concatenate(sizes), out=offsets[1:])
    together = groups[0] if len(groups) == 1 else np.concatenate([np.zeros(0, dtype=np.uint32), *groups])
    return EpochPlan(together, offsets, np.concatenate(orders))


def _groups(
    lengths: Lengths, key: PlanKey, epoch: int, drawn: Samples | None
) -> Iterator[tuple[tuple[int, ...], Samples]]:
    """Shuffled samples of each group, with what its keys get besides; a whole epoch has nothing besides."""
    names = (key.fingerprint, key.seed, epoch)
    count = len(lengths) if drawn is None else len(drawn)
    if key.group_tokens is None:
        yield (), _picked(drawn, shuffled(count, key=(*names, "samples")))
        return
    tokens = _block_tokens(lengths, drawn)
    for group, blocks in enumerate(block_groups(tokens, key.group_tokens, key=(*names, "blocks"))):
        places = (blocks[:, None] * np.uint32(BLOCK) + np.arange(BLOCK, dtype=np.uint32)).ravel()
        places = places[places < count]
        order = shuffled(len(places), key=(*names, "samples", group))
        yield (group,), _picked(drawn, _picked(places, order))


def _picked(values: Samples | None, places: Samples) -> Samples:
    """The values at these places, in the places' own memory; without values, the places."""
    for start in range(0, len(places) if values is not None else 0, CHUNK):
        part = slice(start, start + CHUNK)
        places[part] = values[places[part]]  # type: ignore[index]
    return places


def _block_tokens(lengths: Lengths, drawn: Samples | None) -> npt.NDArray[np.int64]:
    """Tokens of each block of drawn samples."""
    count = len(lengths) if drawn is None else len(drawn)
    blocks = [np.zeros(0, dtype=np.int64)]
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        each = lengths[part] if drawn is None else lengths[drawn[part]]
        blocks.append(np.add.reduceat(each, np.arange(0, len(each), BLOCK), dtype=np.int64))
    return np.concatenate(blocks)


def _pack_windows(samples: Samples, lengths: Lengths, key: PlanKey) -> npt.NDArray[np.int64]:
    """Bring the samples of each pack together, window by window; the number of samples of each pack."""
    sizes = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(samples), key.local_shuffle_buffer_size):
        window = samples[start : start + key.local_shuffle_buffer_size]
        packs, count = best_fit(lengths[window], key.max_length)
        window[:] = window[np.argsort(packs, kind="stable")]
        sizes.append(np.bincount(packs, minlength=count))
    return np.concatenate(sizes)


def plan_paths(
    plans_dir: Path,
    lengths: Lengths,
    key: PlanKey,
    *,
    epochs: int,
    draw: Draw = lambda _epoch: None,
    what: str = "training data",
) -> tuple[Path, ...]:
    """Folders of the plans of all epochs, made where missing or torn; `what` is told of large ones.

    All are made at once, because the number of steps of a stage is known only when every epoch is packed.
    Where the store cannot be written to, plans go to a folder of this process that is removed when it ends.
    """
    folder = _writable(plans_dir)
    paths = tuple(folder / f"{key.digest}-epoch{epoch}" for epoch in range(epochs))
    with _alone_in(folder):
        for epoch, path in enumerate(paths):
            if not _is_whole(path):
                if len(lengths) >= TOLD_SAMPLES:
                    say(f"packing {what}, epoch {epoch + 1} of {epochs}")
                _keep(plan_epoch(lengths, key, epoch, draw(epoch)), path)
    return paths


def open_plan(folder: Path) -> EpochPlan:
    """The plan in a folder that `plan_paths` named, as mapped arrays."""
    return EpochPlan(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS))


def _is_whole(folder: Path) -> bool:
    """Whether there is a plan that can be opened and whose arrays fit together; a power loss may tear one."""
    try:
        plan = open_plan(folder)
    except (OSError, ValueError, EOFError):
        return False
    return len(plan.offsets) == len(plan) + 1 and int(plan.offsets[-1]) == len(plan.samples)


def _keep(plan: EpochPlan, folder: Path) -> None:
    """Write a plan to a folder that appears whole or not at all, in the place of a torn one."""
    temporary = _written(plan, folder)
    if folder.is_dir() and not _is_whole(folder):
        shutil.rmtree(folder)
    with suppress(OSError):  # another machine was quicker with the same plan
        temporary.rename(folder)
    sync_directory(folder.parent)
    shutil.rmtree(temporary, ignore_errors=True)


def _written(plan: EpochPlan, folder: Path) -> Path:
    """A new folder beside `folder` with the arrays, on the disk; several machines may make one at a time."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    for name in ARRAYS:
        with (temporary / f"{name}.npy").open("wb") as file:
            np.save(file, getattr(plan, name))
            file.flush()
            os.fsync(file.fileno())
    sync_directory(temporary)
    return temporary


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
