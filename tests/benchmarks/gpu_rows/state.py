"""G5 and G10: how long a checkpoint stops training, and that a resumed run has the same bits.

A disk that is too slow for all of the state gets a part of the layers; stalls are then told for the part.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils import deterministic

from onerec.checkpoint.retention import Retention
from onerec.checkpoint.saver import Saver, Tensors
from onerec.checkpoint.state import TrainerState
from onerec.distributed import World
from onerec.train.determinism import make_deterministic
from onerec.train.optimizer import optimizer_tensors
from onerec.train.restore import restore, state_tensors
from tests.benchmarks.gpu_rows import ours
from tests.benchmarks.gpu_rows.lab import Lab, need_seconds
from tests.benchmarks.gpu_rows.ours import Ours
from tests.benchmarks.gpu_rows.registry import row
from tests.benchmarks.harness import Figure, Line, Lines, Void, at_most

STALL = "checkpoint of weights and moments, 1.7B: seconds that training stops"
RESUME = "stop and resume, deterministic, 0.6B"
PEER = "synchronous DCP"
PROBE_BYTES = 1 << 30
SECONDS_PER_SAVE = 15.0
"""What one save may take; a slower disk gets a part of the state."""
DISK_SHARE = 0.6
"""Of the free disk that a checkpoint may fill."""


@row("G5", STALL)
def stall(lab: Lab) -> Lines:
    """Ours as a stage saves it, then torch's own; each is removed before the next is written."""
    lab.keep_only("ours, 1.7B", "the reference's way")
    engine = ours.stage_2(lab)
    engine.step(lab.packs[0])
    lab.gauge.wait()
    whole = _bytes_of(engine.lm, engine)
    rate = _disk_rate(lab)
    room = min(rate * SECONDS_PER_SAVE, DISK_SHARE * shutil.disk_usage(lab.folder).free)
    part = _part_of(engine.lm, min(1.0, room / whole))
    held = _bytes_of(part, engine)
    need_seconds(lab, 3 * held / rate)
    mine = _stall_of_ours(lab, state_tensors(part, engine.optimizer), step=_step_count(engine))
    peer = _saved(lab, lambda folder: dcp.save(_tensors(part, engine), checkpoint_id=str(folder / "dcp")))
    told = f"G5: {held / 1e9:.3g} GB of {whole / 1e9:.3g} GB, the disk writes {rate / 1e9:.2g} GB/s"
    yield Line(STALL, Figure("ours", (mine,)), goal=at_most(1, "s"), note=told)
    yield Line(STALL, Figure("ours", (mine,)), Figure(PEER, (peer,)))


@row("G10", RESUME)
def resume(lab: Lab) -> Lines:
    """Two steps, a checkpoint, two steps; then the last two again from the checkpoint, bit by bit."""
    lab.keep_only("ours, 0.6B")
    need_seconds(lab, 60)
    engine = ours.stage_2(lab, "0.6B")
    free = [turn.seconds for turn in lab.turns(engine)[0]]
    with _deterministic():
        bound = [turn.seconds for turn in lab.turns(engine)[0]]
        different = _differences(lab, engine)
    yield Line(
        f"{RESUME}: tensors and losses whose bits differ",
        Figure("ours", (float(len(different)),), ""),
        goal=at_most(0, ""),
        note=f"they differ: {', '.join(different[:3])}" if different else "",
    )
    costs = Figure(
        "ours", tuple(100 * (slow / fast - 1) for slow, fast in zip(bound, free, strict=False)), "%"
    )
    yield Line(f"{RESUME}: time it costs", costs, goal=at_most(10, "%"))


def _differences(lab: Lab, engine: Ours) -> list[str]:
    """Names of what is not the same after the steps that follow a checkpoint, without and with a stop."""
    first, second = lab.packs[:2], lab.packs[2:4]
    for pack in first:
        engine.step(pack)
    folder = lab.folder / "resume"
    folder.mkdir()
    try:
        checkpoint = _save(folder, engine.lm, engine)
        losses = [engine.step(pack).figures().loss for pack in second]
        kept = {name: _local(tensor).clone() for name, tensor in _all(engine.lm, engine)}
        ours.draw_weights(engine.lm)
        restore(checkpoint, model=engine.lm, optimizer=engine.optimizer, step=_step_count(engine) - 2)
        again = [engine.step(pack).figures().loss for pack in second]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    now = dict(_all(engine.lm, engine))
    different = [name for name, tensor in kept.items() if not torch.equal(tensor, _local(now[name]))]
    return different + [
        f"loss {one} and {other}" for one, other in zip(losses, again, strict=True) if one != other
    ]


@contextmanager
def _deterministic() -> Iterator[None]:
    """As `deterministic = true` sets torch."""
    before = deterministic.fill_uninitialized_memory
    make_deterministic()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        deterministic.fill_uninitialized_memory = before


def _step_count(engine: Ours) -> int:
    return int(next(iter(engine.optimizer.state.values()))["step"])


def _save(folder: Path, model: nn.Module, engine: Ours) -> Path:
    with _saver(folder) as saver:
        saver.start(_state(_step_count(engine)), state_tensors(model, engine.optimizer))
        saved = saver.finish()
    assert saved is not None
    return saved.folder


def _stall_of_ours(lab: Lab, tensors: Tensors, *, step: int) -> float:
    """Seconds until training may go on; memory is reserved before, as a stage does before its first step."""
    folder = lab.folder / "checkpoint"
    folder.mkdir()
    try:
        with _saver(folder) as saver:
            saver.reserve(tensors)
            lab.gauge.wait()
            began = time.perf_counter()
            saver.start(_state(step), tensors)
            return time.perf_counter() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _saver(folder: Path) -> Saver:
    world = World(0, 1, 0, 1, "single")
    return Saver(folder, world=world, attempt="0", retention=Retention(9))


def _state(step: int) -> TrainerState:
    return TrainerState(step=step, loss=0.0, data={}, packs_per_step=1, counts={}, run={})


def _saved(lab: Lab, write: Callable[[Path], object]) -> float:
    """Seconds that writing a checkpoint keeps training from going on; the checkpoint is removed."""
    folder = lab.folder / "checkpoint"
    folder.mkdir()
    try:
        lab.gauge.wait()
        began = time.perf_counter()
        write(folder)
        return time.perf_counter() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _disk_rate(lab: Lab) -> float:
    """Bytes a second that a large file is written with, its flush to the disk included."""
    size = PROBE_BYTES if lab.gauge.is_gpu else PROBE_BYTES >> 8
    block = os.urandom(min(size, 1 << 24))
    path = lab.folder / "probe"
    began = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    rate = size / (time.perf_counter() - began)
    path.unlink()
    return rate


def _part_of(lm: nn.Module, share: float) -> nn.Module:
    """The whole model, or so many of its layers that they are this share of it."""
    if share >= 1:
        return lm
    layers = list(lm.get_submodule("model.layers").children())
    count = int(share * len(layers))
    if not count:
        raise Void("the disk is too small or too slow for a single layer")
    return nn.ModuleDict({"layers": nn.ModuleList(layers[:count])})


def _tensors(model: nn.Module, engine: Ours) -> dict[str, torch.Tensor]:
    return dict(_all(model, engine))


def _all(model: nn.Module, engine: Ours) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights and moments of what trains."""
    weights = ((name, weight.detach()) for name, weight in model.named_parameters() if weight.requires_grad)
    return itertools.chain(weights, optimizer_tensors(model, engine.optimizer).items())


def _bytes_of(model: nn.Module, engine: Ours) -> int:
    return sum(_local(tensor).nbytes for _, tensor in _all(model, engine))


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
