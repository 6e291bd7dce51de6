"""Which checkpoint a stage starts from, and whether it may: its own newest sound one, another run's, or none.

Nothing is restored here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onerec.checkpoint import choose, commit
from onerec.checkpoint.best import Best, record_best
from onerec.checkpoint.retention import remove_leftovers
from onerec.checkpoint.state import TrainerState, load_state
from onerec.distributed import on_main
from onerec.errors import ConfigError, DriftError
from onerec.model.load import weights_digest
from onerec.progress import say

if TYPE_CHECKING:
    from onerec.config import TrainConfig


@dataclass(frozen=True)
class Origin:
    """Which checkpoint a stage starts from, and how much of it."""

    checkpoint: Path | None
    takes: Literal["everything", "weights"]
    state: TrainerState | None
    """State to go on from; None starts at step 0."""


def find_origin(config: TrainConfig, *, is_main: bool) -> Origin:
    """The stage's own newest sound checkpoint, else what `resume_from` names, else the model folder.

    Rank 0 looks and judges, all ranks get its answer or its error.
    """
    told = on_main(lambda: _look(config), is_main=is_main)
    if told["checkpoint"] is None:
        return Origin(None, "weights", None)
    checkpoint = Path(told["checkpoint"])
    if told["takes"] == "weights":
        return Origin(checkpoint, "weights", None)
    state = load_state(checkpoint)
    _check_same_stage(config, state, checkpoint)
    best = None if told["best"] is None else Best(**told["best"])
    return Origin(checkpoint, "everything", replace(state, best=best))


def describe_origin(config: TrainConfig, origin: Origin) -> str:
    """One line for people: where the weights come from and which step is next."""
    if origin.checkpoint is None:
        return f"{config.stage} starts at step 1 from {config.model.model_dir}"
    if origin.state is None:
        return f"{config.stage} starts at step 1 with the weights of {origin.checkpoint}"
    return f"{config.stage} goes on after step {origin.state.step} from {origin.checkpoint}"


def _look(config: TrainConfig) -> dict[str, Any]:
    stage_dir = Path(config.output_dir)
    stage_dir.mkdir(parents=True, exist_ok=True)
    remove_leftovers(stage_dir)
    report: list[str] = []
    own = choose.newest_sound(stage_dir, report=report)
    best = None if own is None else _best_until(own, report=report)
    # a kill between a checkpoint and its best.json leaves that of the checkpoint before
    record_best(stage_dir, best)
    for line in report:
        say(f"warning: {line}", is_warning=True)
    if own is not None:
        best_told = None if best is None else asdict(best)
        return {"checkpoint": str(own), "takes": "everything", "best": best_told}
    settings = config.checkpoint
    if settings.resume_from is None:
        return {"checkpoint": None, "takes": "weights"}
    named = choose.find(Path(settings.resume_from), tag=settings.resume_from_tag)
    if (fault := commit.damage(named)) is not None:
        raise ConfigError(
            f"resume_from names a damaged checkpoint: {fault}; choose another with resume_from_tag"
        )
    takes = "everything" if settings.resume_training_state else "weights"
    # the best step of another run is in its own folder
    return {"checkpoint": str(named), "takes": takes, "best": None}


def _best_until(checkpoint: Path, *, report: list[str]) -> Best | None:
    """The best step that a checkpoint of the stage knows of; None, told in `report`, when its own is gone."""
    best = load_state(checkpoint).best
    if best is None or best.step in commit.complete_steps(checkpoint.parent):
        return best
    report.append(f"step {best.step} had the best hit rate, and its checkpoint is gone: the best begins anew")
    return None


def run_record(config: TrainConfig) -> dict[str, Any]:
    """What a checkpoint belongs to: its stage and seed, and the weights that the stage started from."""
    return {
        "stage": config.stage,
        "seed": config.seed,
        "started_from": weights_digest(Path(config.model.model_dir)),
    }


def _check_same_stage(config: TrainConfig, state: TrainerState, checkpoint: Path) -> None:
    """Refuse to go on from the state of a stage that started from other weights or steps in other sizes."""
    now, then = run_record(config), state.run
    if now["started_from"] != then["started_from"]:
        raise DriftError(
            f"{checkpoint} belongs to a stage that started from other weights than {config.model.model_dir}; "
            "give that folder back, start the stage anew with --rerun, or set resume_training_state = false"
        )
    wanted = config.duration.packs_per_step
    if wanted is not None and wanted != state.packs_per_step:
        raise ConfigError(
            f"packs_per_step = {wanted}, but {checkpoint} was trained with {state.packs_per_step}; "
            "use that, or set resume_training_state = false"
        )
