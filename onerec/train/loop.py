"""Train one stage from where it stands to its end: read, step, report, save.

What a step does, what is written and when a checkpoint is complete are told in the files beside this one.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from onerec.distributed import choose_device, environment, process_group, read_world
from onerec.errors import DivergedError, StoppedError
from onerec.progress import say
from onerec.train import commit
from onerec.train.checkpoint import TrainerState, save
from onerec.train.flops import step_flop
from onerec.train.losses import mean_losses
from onerec.train.metrics import (
    Reporter,
    SourceCounts,
    Window,
    memory_gib,
    shares,
    validation_line,
    write_divergence,
)
from onerec.train.optimizer import set_learning_rate
from onerec.train.schedule import learning_rate
from onerec.train.session import Session, open_session, run_record
from onerec.train.step import Outcome, Totals, count, take
from onerec.train.validate import evaluate, is_due

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onerec.config import TrainConfig
    from onerec.data.loading.load import StepPacks


def train(config: TrainConfig) -> dict[str, object]:
    """Bring a stage to its end; returns its summary. All ranks of a launcher call it.

    Raises StoppedError after a save when it was asked to stop, DivergedError for numbers that are not finite,
    StorageError for disks, ConfigError and DriftError for what does not fit.
    """
    env = environment()
    world = read_world(env)
    device = choose_device(world)
    with process_group(world, device=device, env=env):
        session = open_session(config, world=world, device=device)
        return Training(session).run()


class Training:
    """The running of a session: position, counts and last figures."""

    def __init__(self, session: Session) -> None:
        start = session.start
        self.session = session
        self.step = start.step if start else 0
        self.loss = start.loss if start else float("nan")
        self.saved_step = self.step if _own_checkpoint(session) else -1
        self.position = session.loader.state_dict()
        """Where in the data the steps taken so far end; the loader itself may be further."""
        self.counts = SourceCounts(session.loader.sources, saved=start.counts if start else None)
        self.validation: dict[str, Any] | None = None
        """Figures of the newest evaluation."""
        self.window = Window()
        self.reporter: Reporter | None = None
        if session.world.is_main:
            config = session.config
            self.reporter = Reporter(
                config.stage,
                output_dir=session.output_dir,
                tensorboard_dir=Path(config.tensorboard_dir),
                total_steps=session.total_steps,
                start=self.step,
                monitor=config.monitor,
            )

    def run(self) -> dict[str, object]:
        """Step until the end or a stop; the last state is always saved."""
        session = self.session
        with _profiler(session) as profiler:
            for packs, waited in _timed(session.loader, steps=session.total_steps - self.step):
                totals = count(packs.packs, stop=self._asked_to_stop())
                outcome = self._take(packs, totals)
                self.step += 1
                self.position = session.loader.state_dict()
                self._report(totals, outcome, waited_seconds=waited)
                profiler.step()
                self._validate()
                if self._save_is_due() or totals.stop:
                    self._save(outcome)
                if totals.stop and self.step < session.total_steps:
                    raise StoppedError(
                        f"{session.config.stage} stopped after step {self.step}, saved; resume goes on"
                    )
        self._save(None)
        if self.reporter:
            self.reporter.close()
        return self._summary()

    def _take(self, packs: StepPacks, totals: Totals) -> Outcome:
        session, config = self.session, self.session.config
        set_learning_rate(session.optimizer, self._rate())
        outcome = take(
            session.model,
            session.optimizer,
            packs.packs,
            totals=totals,
            vocab=session.vocab,
            num_sources=len(session.loader.sources),
            max_grad_norm=config.optim.max_grad_norm,
            world_size=session.world.size,
            device=session.device,
        )
        if not outcome.is_finite:
            self._diverged(packs, outcome)
        for pack in packs.packs:
            self.counts.add(pack.document_sources, pack.cu_seqlens.diff())
        return outcome

    def _report(self, totals: Totals, outcome: Outcome, *, waited_seconds: float) -> None:
        session = self.session
        flop = step_flop(
            session.model_config,
            tokens=totals.tokens,
            squared_lengths=totals.squared_lengths,
            trained_rows=session.trained_rows,
        )
        self.window.add(tokens=totals.tokens, flop=flop, waited_seconds=waited_seconds)
        if self.step % session.config.monitor.logging_per_step and self.step != session.total_steps:
            if self.reporter:
                self.reporter.advance(self.step)
            return
        monitor = session.config.monitor
        losses = mean_losses(outcome.losses, sources=session.loader.sources)
        counts = self.counts.state_dict()
        self.loss = losses.loss
        row: dict[str, Any] = {
            "step": self.step,
            "loss": losses.loss,
            "itemic_loss": losses.itemic,
            "text_loss": losses.text,
            "learning_rate": self._rate(self.step - 1),
            "grad_norm": outcome.grad_norm,
            **self.window.close(peak_flop_per_second=session.peak_flop_per_second),
            "tokens": totals.tokens,
            "trained_tokens": totals.trained_tokens,
            "trained_share": totals.trained_tokens / max(1, totals.tokens),
            "samples": totals.samples,
            "epoch": self.position["epoch"],
            "memory_gib": memory_gib(session.device),
            "time": time.time(),
            **({"source_loss": losses.by_source} if monitor.monitor_datasource_loss else {}),
            **(shares(counts) if monitor.monitor_datasource_cnt else {}),
        }
        if self.reporter:
            self.reporter.tell(row)

    def _validate(self) -> None:
        """Evaluate where it is due; before the save, so that a checkpoint never lacks its evaluation."""
        session = self.session
        every = session.config.validating.validation_per_step
        if session.validation is None or not is_due(self.step, every=every, last_step=session.total_steps):
            return
        self.validation = evaluate(
            session.model, session.validation, vocab=session.vocab, device=session.device, step=self.step
        )
        self.window.leave_out(self.validation["seconds"])
        if self.reporter:
            self.reporter.tell_validation(self.validation)

    def _save(self, outcome: Outcome | None) -> None:
        if self.saved_step == self.step:
            return
        session, settings = self.session, self.session.config.checkpoint
        if outcome is not None:
            self.loss = mean_losses(outcome.losses, sources=session.loader.sources).loss
        state = TrainerState(
            step=self.step,
            loss=self.loss,
            data=self.position,
            packs_per_step=session.packs_per_step,
            counts=self.counts.state_dict(),
            run=run_record(session.config),
        )
        is_main = session.world.is_main
        final = save(
            session.output_dir,
            state=state,
            model=session.model.lm,
            optimizer=session.optimizer,
            is_main=is_main,
        )
        self.saved_step = self.step
        if final is not None:
            commit.prune(session.output_dir, keep=settings.keep_checkpoints, keep_every=settings.keep_every)
            say(f"{session.config.stage} saved {final}")

    def _diverged(self, packs: StepPacks, outcome: Outcome) -> None:
        """Save the state before the step, write down the samples of the offending packs, and fail by name."""
        session = self.session
        rank, numbers = session.world.rank, outcome.bad_packs or range(len(packs.packs))
        uuids = [uuid for number in numbers for uuid in packs.packs[number].uuids]
        write_divergence(session.output_dir, rank=rank, step=self.step, uuids=uuids)
        self._save(None)
        raise DivergedError(
            f"{session.config.stage} step {self.step + 1}: loss or gradient is not finite (gradient norm "
            f"{outcome.grad_norm}); the update was not made, the state after step {self.step} is saved; "
            f"the samples are in {session.output_dir}/diverged-step{self.step + 1}-rank*.json; look at them, "
            "or lower learning_rate and start the stage anew with --rerun"
        )

    def _asked_to_stop(self) -> bool:
        return self.session.world.is_main and Path(self.session.config.stop_file).exists()

    def _rate(self, step: int | None = None) -> float:
        at = self.step if step is None else step
        return learning_rate(at, self.session.config.optim, total_steps=self.session.total_steps)

    def _save_is_due(self) -> bool:
        every = self.session.config.checkpoint.save_checkpoint_per_step
        return self.step % every == 0 or self.step == self.session.total_steps

    def _validated(self) -> dict[str, object]:
        assert self.validation is not None
        line = validation_line(self.session.config.stage, self.validation)
        return {"validation": self.validation, "report": [line]}

    def _summary(self) -> dict[str, object]:
        return {
            "step": self.step,
            "total_steps": self.session.total_steps,
            "reason": self.session.ends_by,
            "loss": self.loss,
            "packs_per_step": self.session.packs_per_step,
            "counts": self.counts.state_dict(),
            **(self._validated() if self.validation else {}),
        }


def _own_checkpoint(session: Session) -> bool:
    """Whether the state that the session starts from lies in the stage's own folder."""
    return session.start is not None and session.start.step in commit.complete_steps(session.output_dir)


def _timed(loader: Any, *, steps: int) -> Iterator[tuple[StepPacks, float]]:
    """The next `steps` steps, each with the seconds that were waited for it."""
    if steps <= 0:
        return
    packs = iter(loader)
    for _ in range(steps):
        began = time.monotonic()
        step = next(packs)
        yield step, time.monotonic() - began


@contextmanager
def _profiler(session: Session) -> Iterator[Any]:
    """torch.profiler over steps 3 to 5 of this attempt when `enable_profiler` says so; one trace per rank."""
    if not session.config.monitor.enable_profiler:
        yield _NoProfiler()
        return
    folder = session.output_dir / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    attempt = environment().get("RUNNER_ATTEMPT", "0")
    trace = folder / f"attempt-{attempt}-rank-{session.world.rank:05d}.json"
    schedule = torch.profiler.schedule(wait=2, warmup=0, active=3, repeat=1)
    with torch.profiler.profile(
        schedule=schedule, on_trace_ready=lambda profile: profile.export_chrome_trace(str(trace))
    ) as profiler:
        yield profiler


class _NoProfiler:
    def step(self) -> None:
        """Nothing is profiled."""
