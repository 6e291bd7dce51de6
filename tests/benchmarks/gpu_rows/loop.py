"""G6 and G7: the real training loop, fed by the real loader or from memory, telling much or nothing.

The loop is `onerec.train.loop.Training` as a stage runs it; only that it saves is left out.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onerec.checkpoint.retention import Retention
from onerec.checkpoint.saver import Saver
from onerec.config import (
    Checkpointing,
    Duration,
    ModelSource,
    Monitoring,
    TrainConfig,
    Validating,
)
from onerec.data.loading.load import PackLoader, StepPacks
from onerec.distributed import World
from onerec.train.flops import peak_of
from onerec.train.loop import Training
from onerec.train.session import Session
from onerec.vocab import ItemicVocab
from tests.benchmarks.gpu_rows import ours, samples
from tests.benchmarks.gpu_rows.lab import WARM_UP_STEPS, Lab
from tests.benchmarks.gpu_rows.ours import OPTIM, Ours
from tests.benchmarks.gpu_rows.registry import row
from tests.benchmarks.harness import Figure, Line, Lines, at_least, at_most
from tests.benchmarks.orders import SEED

LOADER = "the real loop and loader"
METRICS = "metrics and logging on"
SILENT_STEPS = 3
RUNS = 2
NEVER = 1 << 40
"""Steps between reports of a stage that tells nothing."""
NOTHING = Monitoring(logging_per_step=NEVER, monitor_datasource_loss=False, monitor_datasource_cnt=False)


class Unsaved(Training):
    """The real loop, without the checkpoint at its end."""

    def _save(self) -> None:
        """Nothing is saved: 21 GB would be more than the run."""


class Watched:
    """A loader that tells when the first warm step was asked for, and how long steps were waited for."""

    def __init__(self, lab: Lab, loader: PackLoader, replayed: list[StepPacks] | None) -> None:
        self._lab, self._loader, self._replayed = lab, loader, replayed
        self.sources = loader.sources
        self.began = self.waited = 0.0
        self.trained_tokens = 0

    def __iter__(self) -> Iterator[StepPacks]:
        source = itertools.cycle(self._replayed) if self._replayed else iter(self._loader)
        for number in itertools.count():
            if number == WARM_UP_STEPS:
                self._lab.gauge.wait()
                self.began = time.perf_counter()
            asked = time.perf_counter()
            step = next(source)
            if number >= WARM_UP_STEPS:
                self.waited += time.perf_counter() - asked
                self.trained_tokens += sum(pack.trained_tokens for pack in step.packs)
            yield step

    def state_dict(self) -> dict[str, Any]:
        """The position, as the loop asks for it after each step."""
        return self._loader.state_dict()

    def packs_before(self, state: dict[str, Any]) -> int:
        """Where that is, in packs."""
        return self._loader.packs_before(state)


@row("G6", LOADER)
def real_loader(lab: Lab) -> Lines:
    """Share of the time that steps wait for data, and speed against packs that lie in memory."""
    lab.keep_only("ours, 1.7B", "the reference's way")
    engine = ours.stage_2(lab)
    mine, shares = [], []
    for _ in range(RUNS):
        watched, seconds = _run(lab, engine, Monitoring(), from_memory=False)
        mine.append(seconds / watched.trained_tokens)
        shares.append(100 * watched.waited / seconds)
    waiting = Figure("ours", tuple(shares), "%")
    yield Line(f"{LOADER}: share of the time that steps wait", waiting, goal=at_most(1, "%"))
    memory = Figure("packs in memory", tuple(_from_memory(lab, engine)["on"]))
    yield Line(f"{LOADER}: time of a trained token", Figure("ours", tuple(mine)), memory, at_least(0.99))


@row("G7", METRICS)
def metrics(lab: Lab) -> Lines:
    """What telling costs as a stage tells by default, and that a silent step never waits for the device."""
    lab.keep_only("ours, 1.7B", "the reference's way")
    engine = ours.stage_2(lab)
    waits = _waits_in_silent_steps(lab, engine)
    yield Line(
        "waits for the device in silent steps",
        Figure("ours", (float(len(waits)),), ""),
        goal=at_most(0, ""),
        note=f"waits at {'; '.join(sorted(set(waits)))}" if waits else "",
    )
    told = _from_memory(lab, engine)
    cost = [100 * (on / off - 1) for on, off in zip(told["on"], told["off"], strict=True)]
    yield Line(f"{METRICS}: time they cost", Figure("ours", tuple(cost), "%"), goal=at_most(0.5, "%"))


def _from_memory(lab: Lab, engine: Ours) -> dict[str, list[float]]:
    """Time of a trained token of packs in memory, in turn with metrics as they are by default and without."""

    def measure() -> dict[str, list[float]]:
        told: dict[str, list[float]] = {"on": [], "off": []}
        for _ in range(RUNS):
            for name, monitor in (("on", Monitoring()), ("off", NOTHING)):
                watched, seconds = _run(lab, engine, monitor, from_memory=True)
                told[name].append(seconds / watched.trained_tokens)
        return told

    made: dict[str, list[float]] = lab.once("runs from memory", measure)
    return made


def _waits_in_silent_steps(lab: Lab, engine: Ours) -> list[str]:
    """Places where some steps in a row, the reading of their figures included, wait for the device."""
    for pack in lab.packs[:WARM_UP_STEPS]:
        engine.step(pack).figures()
    lab.gauge.wait()
    with lab.gauge.waits() as places:
        for pack in lab.packs[:SILENT_STEPS]:
            engine.step(pack).figures()
    return places


def _run(lab: Lab, engine: Ours, monitor: Monitoring, *, from_memory: bool) -> tuple[Watched, float]:
    """The loop over some steps, and the seconds of those after the warm ones."""
    workers = 0 if from_memory else lab.sizes.workers
    loader = samples.loader(lab.store, lab.sizes, num_workers=workers)
    replayed = [StepPacks((pack,)) for pack in lab.packs] if from_memory else None
    watched = Watched(lab, loader, replayed)
    output_dir = lab.folder / f"run-{len(list(lab.folder.glob('run-*')))}"
    session = _session(lab, engine, watched, output_dir=output_dir, monitor=monitor)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        saver = Saver(output_dir, world=session.world, attempt="0", retention=Retention(1))
        Unsaved(session, saver).run()
    lab.gauge.wait()
    return watched, time.perf_counter() - watched.began


def _session(lab: Lab, engine: Ours, watched: Watched, *, output_dir: Path, monitor: Monitoring) -> Session:
    output_dir.mkdir()
    vocab = lab.sizes.vocab
    config = TrainConfig(
        stage="g1",
        output_dir=str(output_dir),
        tensorboard_dir=str(output_dir / "log"),
        stop_file=str(output_dir / "stop"),
        seed=SEED,
        model=ModelSource(model_dir="drawn in place"),
        vocab=vocab,
        data=samples.data_order(lab.store, lab.sizes, num_workers=0),
        optim=OPTIM,
        trainable={},
        compute=engine.compute,
        checkpoint=Checkpointing(save_checkpoint_per_step=NEVER),
        monitor=monitor,
        validating=Validating(),
        duration=Duration(packs_per_step=1),
    )
    return Session(
        config=config,
        world=World(0, 1, 0, 1, "single"),
        device=lab.device,
        vocab=ItemicVocab(vocab.itemic_layer_n, vocab.vocab_size_per_layer, lab.sizes.first_itemic_id),
        model=engine.model,
        model_config=engine.config,
        optimizer=engine.optimizer,
        loader=watched,  # type: ignore[arg-type]
        validation=None,
        hit_rate=None,
        packs_per_step=1,
        total_steps=WARM_UP_STEPS + lab.sizes.loop_steps,
        ends_by="max_steps",
        start=None,
        trained_rows=None,
        peak_flop_per_second=peak_of(lab.gauge.name()),
    )
