"""What a stage tells about its steps: figures of a step over all ranks, throughput, shares, spikes.

All ranks add up together, rank 0 writes (`metrics`). Nothing here changes a number of the training.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onerec.distributed import environment, gather_json
from onerec.errors import StoppedError
from onerec.progress import say
from onerec.train.flops import step_flop
from onerec.train.losses import SourceCounts, mean_losses
from onerec.train.metrics import Reporter, Window, memory_gib, running_totals, shares
from onerec.train.spikes import SpikeWatch, record_spike
from onerec.train.trackers import TrackedRun, Trackers

if TYPE_CHECKING:
    from onerec.data.loading.load import StepPacks
    from onerec.train.session import Session
    from onerec.train.step import Figures, Outcome, Totals


@dataclass(frozen=True)
class TakenStep:
    """A step that was given to the device; what it came to may not be known yet."""

    number: int
    """Steps taken, this one included."""
    packs: StepPacks
    totals: Totals
    position: dict[str, Any]
    """Where in the data it ends."""
    waited_seconds: float
    """How long its data was waited for."""
    rate: float
    """Its learning rate."""
    outcome: Outcome


class StageReport:
    """Counts and throughput since the stage's start, and the places where they are told."""

    def __init__(self, session: Session, *, start: int) -> None:
        saved = session.start.counts if session.start else None
        self._session = session
        self.counts = SourceCounts(session.loader.sources, saved=saved)
        self._window = Window()
        self._spikes = SpikeWatch(session.config.monitor.loss_spike_deviations)
        self._reporter = _reporter(session, start=start) if session.world.is_main else None

    def add(self, taken: TakenStep, figures: Figures) -> None:
        """Count a step; warn when its loss stands out. All ranks call it together."""
        for pack in taken.packs.packs:
            self.counts.add(pack.read_S2)
        flop = step_flop(
            self._session.model_config,
            tokens=taken.totals.tokens,
            trained_tokens=taken.totals.trained_tokens,
            squared_lengths=taken.totals.squared_lengths,
            trained_rows=self._session.trained_rows,
        )
        self._window.add(
            tokens=taken.totals.tokens,
            trained_tokens=taken.totals.trained_tokens,
            samples=taken.totals.samples,
            flop=flop,
            waited_seconds=taken.waited_seconds,
        )
        usual = self._spikes.usual
        if self._spikes.is_spike(figures.loss):
            self._warn_of_spike(taken, figures, usual=usual)
        if self._reporter:
            self._reporter.advance(taken.number, loss=figures.loss)

    def tell(self, taken: TakenStep, figures: Figures) -> None:
        """Write the figures of a step everywhere. All ranks call it together."""
        session, totals = self._session, taken.totals
        monitor = session.config.monitor
        losses = mean_losses(taken.outcome.losses, sources=session.loader.sources, counts=self.counts)
        row: dict[str, Any] = {
            "step": taken.number,
            "loss": figures.loss,
            "itemic_loss": losses.itemic,
            "text_loss": losses.text,
            "learning_rate": taken.rate,
            "grad_norm": figures.grad_norm,
            **self._window.close(peak_flop_per_second=session.peak_flop_per_second),
            "tokens": totals.tokens,
            "trained_tokens": totals.trained_tokens,
            "trained_share": totals.trained_tokens / max(1, totals.tokens),
            "samples": totals.samples,
            **running_totals(self.counts.totals()),
            "world_size": session.world.size,
            "epoch": taken.position["epoch"],
            "memory_gib": memory_gib(session.device),
            "time": time.time(),
            **({"source_loss": losses.by_source} if monitor.monitor_datasource_loss else {}),
            **(shares(self.counts.totals()) if monitor.monitor_datasource_cnt else {}),
        }
        if self._reporter:
            self._reporter.tell(row)

    def tell_validation(self, row: dict[str, Any]) -> None:
        """Write the figures of an evaluation; its time is none of the training's."""
        self._window.leave_out(row["seconds"])
        if self._reporter:
            self._reporter.tell_validation(row)

    def tell_hit_rate(self, row: dict[str, Any]) -> None:
        """Write a hit rate; its time is none of the training's."""
        self._window.leave_out(row["seconds"])
        if self._reporter:
            self._reporter.tell_hit_rate(row)

    def __enter__(self) -> StageReport:
        """Told until the block ends."""
        return self

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        """Flush what is open, and tell trackers how the stage ended."""
        if self._reporter:
            is_stopped = isinstance(fault, StoppedError)
            self._reporter.close("done" if fault is None else "stopped" if is_stopped else "failed")

    def _warn_of_spike(self, taken: TakenStep, figures: Figures, *, usual: float) -> None:
        """Write down whose samples a step was made of whose loss stands out; all ranks see it together."""
        session = self._session
        packs = zip(taken.packs.packs, figures.pack_losses, strict=True)
        mine = [
            {"pack": pack.pack, "loss": loss, "uuids": pack.uuids} for pack, loss in packs if pack.samples
        ]
        everybody = [pack for rank in gather_json(mine) for pack in rank]
        if self._reporter:
            told = record_spike(
                session.output_dir,
                step=taken.number,
                loss=figures.loss,
                usual=usual,
                packs=sorted(everybody, key=lambda pack: -pack["loss"]),
            )
            say(f"warning: {session.config.stage} {told}", is_warning=True)


def _reporter(session: Session, *, start: int) -> Reporter:
    config = session.config
    return Reporter(
        config.stage,
        output_dir=session.output_dir,
        tensorboard_dir=Path(config.tensorboard_dir),
        total_steps=session.total_steps,
        start=start,
        monitor=config.monitor,
        trackers=Trackers(config.monitor.trackers, run=_tracked(session)),
    )


def _tracked(session: Session) -> TrackedRun:
    folder, config = session.output_dir, session.config
    name = f"{folder.absolute().parent.name}/{config.stage}"
    return TrackedRun(name, config.model_dump(mode="json"), folder / "trackers", environment())
