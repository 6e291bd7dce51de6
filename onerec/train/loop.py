"""Train one stage from where it stands to its end: read, step, report, save.

What a step does, what is written and when a checkpoint is complete are told in the files beside this one.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onerec.checkpoint import commit
from onerec.checkpoint.retention import Retention
from onerec.checkpoint.saver import Saver
from onerec.checkpoint.state import TrainerState
from onerec.checkpoint.stretch import Stretch
from onerec.distributed import choose_device, environment, process_group, read_world
from onerec.errors import DivergedError, StoppedError
from onerec.model.memory import telling_out_of_memory
from onerec.progress import say
from onerec.pulse import Heart
from onerec.train.determinism import make_deterministic
from onerec.train.evaluations import Evaluations
from onerec.train.garbage import collect_garbage, garbage_collected_by_hand
from onerec.train.metrics import write_divergence
from onerec.train.optimizer import set_learning_rate
from onerec.train.origin import run_record
from onerec.train.report import StageReport, TakenStep
from onerec.train.restore import state_tensors
from onerec.train.schedule import learning_rate
from onerec.train.session import Session, open_session
from onerec.train.step import Figures, Stepper, Wishes, count
from onerec.train.trace import traced
from onerec.train.trackers import check_trackers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onerec.config import TrainConfig
    from onerec.data.loading.load import StepPacks
    from onerec.pulse import Phase


def train(config: TrainConfig) -> dict[str, object]:
    """Bring a stage to its end; returns its summary. All ranks of a launcher call it.

    Raises StoppedError after a save when it was asked to stop, DivergedError for numbers that are not finite,
    StorageError for disks, ConfigError and DriftError for what does not fit.
    """
    env = environment()
    world = read_world(env)
    device = choose_device(world)
    if world.is_main:
        check_trackers(config.monitor.trackers)
    heart = Heart(Path(env["RUNNER_BEAT"]) if "RUNNER_BEAT" in env else None)
    heart.beat("set-up")
    if config.compute.deterministic:
        make_deterministic()
    with telling_out_of_memory(device), process_group(world, device=device, env=env):
        session = open_session(config, world=world, device=device)
        with garbage_collected_by_hand(), _saver(session) as saver:
            training = Training(session, saver, heart=heart)
            with training.report:
                return training.run()


class Training:
    """The running of a session: position, counts and last figures, all of the newest step that is known."""

    def __init__(self, session: Session, saver: Saver, *, heart: Heart | None = None) -> None:
        start = session.start
        self.session, self.saver, self.heart = session, saver, heart or Heart(None)
        self.step = start.step if start else 0
        self.loss = start.loss if start else float("nan")
        self.saved_step = self.step if _own_checkpoint(session) else -1
        self.saved_at = time.monotonic()
        """When this attempt last began to save, or began itself."""
        self.is_set_up = False
        """Whether a step is done: the first one compiles, and takes as long as everything before it."""
        self.position = session.loader.state_dict()
        """Where in the data the steps known so far end; the loader itself may be further."""
        self.first_pack = session.loader.packs_before(self.position)
        self.report = StageReport(session, start=self.step)
        self.evaluations = Evaluations(session, self.report)
        self.stepper = Stepper(
            session.model,
            session.optimizer,
            max_grad_norm=session.config.optim.max_grad_norm,
            num_sources=len(session.loader.sources),
            world_size=session.world.size,
            device=session.device,
        )

    def run(self) -> dict[str, object]:
        """Step until the end or a stop; the last state is always saved."""
        session = self.session
        unknown: TakenStep | None = None
        with _traced(session) as tracer:
            for packs, waited in self._timed(steps=session.total_steps - self.step):
                taken = self._take(packs, number=self.step + 1 + (unknown is not None), waited_seconds=waited)
                tracer.step()
                # the device has work: what the step before came to can be read without keeping it idle
                if unknown is not None:
                    self._settle(unknown)
                unknown = taken
                if self._is_silent(taken):
                    continue
                self._settle(taken)
                unknown = None
                # before the save, so that a checkpoint never lacks its evaluations
                self.evaluations.make(self.step, on_pack=lambda: self._beat("evaluate"))
                self._follow(taken.totals.wishes)
        self._save()
        self.heart.beat("end", self.step)
        self.saver.finish()
        return self._summary()

    def _timed(self, *, steps: int) -> Iterator[tuple[StepPacks, float]]:
        """The next `steps` steps, each with the seconds that were waited for it."""
        if steps <= 0:
            return
        packs = iter(self.session.loader)
        for _ in range(steps):
            self._beat("data")
            began = time.monotonic()
            step = next(packs)
            self._beat("step")
            yield step, time.monotonic() - began

    def _beat(self, phase: Phase) -> None:
        self.heart.beat(phase if self.is_set_up else "set-up", self.step)

    def _follow(self, wishes: Wishes) -> None:
        """Save where it is due or wanted or the best is found, and stop where that is wanted."""
        if wishes.look:
            self.saver.finish()  # raises what has failed
        is_best = self.evaluations.is_best(self.step)
        if self._save_is_due() or wishes.save or wishes.stop or is_best:
            self._save()
        if wishes.stop and self.step < self.session.total_steps:
            self.heart.beat("end", self.step)
            self.saver.finish()
            raise StoppedError(
                f"{self.session.config.stage} stopped after step {self.step}, saved; resume goes on"
            )

    def _take(self, packs: StepPacks, *, number: int, waited_seconds: float) -> TakenStep:
        """Give the next step to the device."""
        totals = count(packs.packs, wishes=self._wishes())
        rate = learning_rate(number - 1, self.session.config.optim, total_steps=self.session.total_steps)
        set_learning_rate(self.session.optimizer, rate)
        outcome = self.stepper.take(packs.packs, totals=totals)
        position = self.session.loader.state_dict()
        return TakenStep(number, packs, totals, position, waited_seconds, rate, outcome)

    def _settle(self, taken: TakenStep) -> None:
        """Wait for what a step came to, count it, and tell what is to be told about it."""
        figures = taken.outcome.figures()
        if not figures.is_finite:
            self._diverged(taken, figures)
        self.step, self.loss, self.position = taken.number, figures.loss, taken.position
        self.is_set_up = True
        self._beat("step")
        self.report.add(taken, figures)
        if self._is_logged(taken.number):
            self.report.tell(taken, figures)
            collect_garbage(everything=False)

    def _is_silent(self, taken: TakenStep) -> bool:
        """Whether nothing follows the step that needs to know what it came to."""
        return not (
            taken.totals.wishes.any
            or self._is_logged(taken.number)
            or self._save_is_due(taken.number)
            or self.evaluations.are_due(taken.number)
        )

    def _is_logged(self, step: int) -> bool:
        return step % self.session.config.monitor.logging_per_step == 0 or step == self.session.total_steps

    def _save(self) -> None:
        if self.saved_step == self.step:
            return
        self.heart.beat("save", self.step)
        session = self.session
        state = TrainerState(
            step=self.step,
            loss=self.loss,
            data=self.position,
            packs_per_step=session.packs_per_step,
            counts=self.report.counts.state_dict(),
            run=run_record(session.config),
            stretches=self._stretches(),
            best=self.evaluations.best,
        )
        self.saver.start(state, state_tensors(session.model.lm, session.optimizer))
        self.saved_step, self.saved_at = self.step, time.monotonic()
        collect_garbage(everything=True)

    def _stretches(self) -> tuple[Stretch, ...]:
        """How the steps so far were taken: what the checkpoint before told, and the part of this attempt."""
        session, start = self.session, self.session.start
        first_step = start.step if start else 0
        mine = Stretch(
            attempt=_attempt(),
            world_size=session.world.size,
            num_workers=session.config.data.num_workers,
            first_step=first_step,
            last_step=self.step,
            first_pack=self.first_pack,
            end_pack=session.loader.packs_before(self.position),
        )
        before = start.stretches if start else ()
        return (*before, mine) if self.step > first_step else before

    def _diverged(self, taken: TakenStep, figures: Figures) -> None:
        """Save the state before the step, write down the samples of the offending packs, and fail by name."""
        session, packs = self.session, taken.packs.packs
        # the loss is everybody's: where it is sound the gradient alone is not, and no pack can be named
        numbers = range(len(packs)) if math.isfinite(figures.loss) else figures.bad_packs
        uuids = [uuid for number in numbers for uuid in packs[number].uuids]
        if uuids:
            write_divergence(session.output_dir, rank=session.world.rank, step=self.step, uuids=uuids)
        self._save()
        self.saver.finish()
        raise DivergedError(
            f"{session.config.stage} step {taken.number}: loss or gradient is not finite (gradient norm "
            f"{figures.grad_norm}); the update was not made, the state after step {self.step} is saved; "
            f"the samples are in {session.output_dir}/diverged-step{taken.number}-rank*.json; look at them, "
            "or lower learning_rate and start the stage anew with --rerun"
        )

    def _wishes(self) -> Wishes:
        """Rank 0 looks at the control file and the clock, every rank at its save."""
        minutes = self.session.config.checkpoint.save_checkpoint_per_minutes
        is_main = self.session.world.is_main
        return Wishes(
            stop=is_main and Path(self.session.config.stop_file).exists(),
            save=is_main and minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes,
            look=self.saver.has_failed,
        )

    def _save_is_due(self, step: int | None = None) -> bool:
        at = self.step if step is None else step
        every = self.session.config.checkpoint.save_checkpoint_per_step
        return at % every == 0 or at == self.session.total_steps

    def _summary(self) -> dict[str, object]:
        return {
            "step": self.step,
            "total_steps": self.session.total_steps,
            "reason": self.session.ends_by,
            "loss": self.loss,
            "packs_per_step": self.session.packs_per_step,
            "counts": self.report.counts.state_dict(),
            **self.evaluations.summary(),
        }


def _own_checkpoint(session: Session) -> bool:
    """Whether the state that the session starts from lies in the stage's own folder."""
    return session.start is not None and session.start.step in commit.complete_steps(session.output_dir)


def _saver(session: Session) -> Saver:
    settings = session.config.checkpoint
    saver = Saver(
        session.output_dir,
        world=session.world,
        attempt=_attempt(),
        retention=Retention(settings.keep_checkpoints, settings.keep_every),
        on_saved=lambda saved: say(
            f"{session.config.stage} saved {saved.folder} in {saved.write_seconds:.1f} s, "
            f"for which training waited {saved.stall_seconds:.2f} s"
        ),
    )
    # or the first save would wait for memory
    saver.reserve(state_tensors(session.model.lm, session.optimizer))
    return saver


def _attempt() -> str:
    return environment().get("RUNNER_ATTEMPT", "0")


def _traced(session: Session) -> Any:
    monitor = session.config.monitor
    return traced(
        session.output_dir / "profile",
        name=f"attempt-{_attempt()}-rank-{session.world.rank:05d}",
        steps=monitor.profiler_steps if monitor.enable_profiler else None,
    )
