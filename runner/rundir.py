"""Every path of a run directory, by name; nobody else joins path parts.

Reads and writes nothing, but for finding which run is meant and which checkpoints there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from onerec.errors import ConfigError

LATEST = "latest"
STEP_FOLDER = re.compile(r"step([0-9]+)")


@dataclass(frozen=True)
class StepDir:
    """The folder of one step: a stage's output, a prepared dataset, or the records of a conversion."""

    path: Path

    @property
    def config(self) -> Path:
        """All the step is told."""
        return self.path / "config.json"

    @property
    def command(self) -> Path:
        """The exact command, for a person to run by hand."""
        return self.path / "command.sh"

    @property
    def stdout(self) -> Path:
        """What the launcher and rank 0 wrote, over all attempts."""
        return self.path / "stdout.log"

    @property
    def stderr(self) -> Path:
        """What the launcher and rank 0 complained about, over all attempts."""
        return self.path / "stderr.log"

    @property
    def result(self) -> Path:
        """The step's summary; there only when it really ended."""
        return self.path / "result.json"

    @property
    def progress(self) -> Path:
        """How far the step is, while it runs."""
        return self.path / "progress.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per logged step of training."""
        return self.path / "metrics.jsonl"

    @property
    def latest(self) -> Path:
        """Tag of the newest complete checkpoint."""
        return self.path / "latest"

    @property
    def model(self) -> Path:
        """Hugging Face folder that init_model and expand_vocab write."""
        return self.path / "model"

    @property
    def converted(self) -> Path:
        """Hugging Face folder of a training stage's final checkpoint: a symbolic link."""
        return self.path / "converted"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.path / "log"

    @property
    def data_record(self) -> Path:
        """What a training stage reads, as planned when it began."""
        return self.path / "data.json"

    @property
    def summary(self) -> Path:
        """Counts of a prepared dataset."""
        return self.path / "summary.json"

    @property
    def preview(self) -> Path:
        """Samples of a dataset as they are trained."""
        return self.path / "preview.json"

    @property
    def inspection(self) -> Path:
        """What footers and some rows of a dataset tell."""
        return self.path / "inspection.json"

    @property
    def rows(self) -> StepDir:
        """Where a build_data stage writes: not beside the datasets that are prepared below a stage `data`."""
        return StepDir(self.path / "rows")

    def output(self, name: str) -> Path:
        """A named output: a folder of rows."""
        return self.path / name

    def logs(self, attempt: int) -> Path:
        """Per-rank logs and exit records of one attempt."""
        return self.path / "logs" / f"attempt-{attempt}"

    def rendezvous(self, attempt: int) -> Path:
        """Where rank 0 of an attempt tells the other ranks its address."""
        return self.logs(attempt) / "rendezvous.json"

    def rank_log(self, attempt: int, rank: int, stream: str) -> Path:
        """What one rank wrote: `stream` is stdout or stderr."""
        return self.logs(attempt) / f"rank-{rank:05d}.{stream}"

    def launcher_logs(self, attempt: int) -> Path:
        """What torchrun itself keeps of an attempt."""
        return self.logs(attempt) / "torchrun"

    def attempts(self) -> list[Path]:
        """Log folders of all attempts, oldest first."""
        folders = (self.path / "logs").glob("attempt-*")
        return sorted(folders, key=lambda folder: int(folder.name.partition("-")[2]))

    def conversion(self, step: int) -> StepDir:
        """Records of a conversion that a person asked for."""
        return StepDir(self.path / f"convert-step{step}")

    def converted_checkpoint(self, step: int, dtype: str = "bf16") -> Path:
        """Hugging Face folder of one checkpoint; formats other than bf16 have folders of their own."""
        name = "converted" if dtype == "bf16" else f"converted-{dtype}"
        return self.path / f"step{step}" / f"global_step{step}" / name

    def checkpoints(self) -> list[int]:
        """Steps that have a complete checkpoint, in ascending order."""
        marks = self.path.glob("step*/COMMIT.json")
        found = (STEP_FOLDER.fullmatch(mark.parent.name) for mark in marks)
        return sorted(int(match[1]) for match in found if match)

    def replaced(self) -> Path:
        """A free name for what stands here now, beside it: `stage1.replaced-1`."""
        number = 1
        while (free := self.path.with_name(f"{self.path.name}.replaced-{number}")).exists():
            number += 1
        return free


@dataclass(frozen=True)
class RunDir:
    """The directory of one run."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.name

    @property
    def manifest(self) -> Path:
        """The manifest as given, byte for byte."""
        return self.path / "manifest.toml"

    @property
    def resolved(self) -> Path:
        """The manifest as understood."""
        return self.path / "manifest.resolved.json"

    @property
    def environment(self) -> Path:
        """Versions, host and GPUs of the newest start."""
        return self.path / "environment.json"

    @property
    def events(self) -> Path:
        """The journal."""
        return self.path / "events.jsonl"

    @property
    def lock(self) -> Path:
        """Held while a runner is alive."""
        return self.path / "lock"

    @property
    def stop_file(self) -> Path:
        """A clean stop is asked for by this file."""
        return self.path / "control" / "stop.json"

    @property
    def newest(self) -> Path:
        """The link beside the runs that names the one last started."""
        return self.path.parent / LATEST

    def older_manifest(self) -> Path:
        """A free name for a manifest that is replaced: `manifest.1.toml`."""
        number = 1
        while (free := self.path / f"manifest.{number}.toml").exists():
            number += 1
        return free

    def stage(self, name: str) -> StepDir:
        """Folder of a stage."""
        return StepDir(self.path / name)

    def dataset(self, name: str) -> StepDir:
        """Folder of a prepared dataset."""
        return StepDir(self.path / "data" / name)

    def conversion(self, stage: str) -> StepDir:
        """Records of the planned conversion of a training stage."""
        return StepDir(self.path / stage / "convert")

    def step(self, folder: str) -> StepDir:
        """Folder of a step, from its place inside the run directory as the journal holds it."""
        return StepDir(self.path / folder)

    def inside(self, path: str) -> str:
        """A path relative to the run directory, for the journal: the directory may be moved."""
        return Path(path).relative_to(self.path).as_posix()


def find_run(run: str | None, *, runs: Path = Path("runs")) -> RunDir:
    """The run that a person means: a run directory, a name in `runs`, or (None) the run last started.

    Raises ConfigError naming what was looked for.
    """
    candidates = [Path(run), runs / run] if run is not None else [runs / LATEST]
    for path in candidates:
        if RunDir(path).events.is_file():
            return RunDir(path.resolve())
    tried = " or ".join(dict.fromkeys(str(path) for path in candidates))
    raise ConfigError(f"no run at {tried}; name a run directory, or start one: python -m runner MANIFEST")
