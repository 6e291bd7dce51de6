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
ATTEMPT_FOLDER = re.compile(r"attempt-([0-9]+)")
SET_ASIDE = re.compile(r".+\.replaced-[0-9]+")
SAVE_LEFTOVERS = ("step*.tmp-*", ".trash-step*")
"""What an interrupted save or pruning leaves in a stage's folder; the stage's next start removes it."""
CONVERSION_LEFTOVERS = ("step*/global_step*/.converted*.tmp", "step*/global_step*/.converted*.old")
"""What an interrupted conversion leaves beside the folder it was to write."""
WRITE_LEFTOVERS = (".*.tmp", ".*.old", ".converted.[0-9]*", "*/.*.tmp", "plans/.*-*.*", "logs/*/rank-*.tmp")
"""What an interrupted write of a single file, link or folder leaves in the folder of a step."""


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
    def validation(self) -> Path:
        """One JSON object per evaluation of training."""
        return self.path / "validation.jsonl"

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
    def evaluation(self) -> Path:
        """All figures of an evaluation."""
        return self.path / "evaluation.json"

    @property
    def ranks(self) -> Path:
        """Where each model put the item of each user, of an evaluation."""
        return self.path / "ranks.parquet"

    @property
    def hit_rates(self) -> Path:
        """Hit rates of a training stage as it went on, one line each."""
        return self.path / "hit_rate.jsonl"

    @property
    def best(self) -> Path:
        """Which checkpoint of a training stage had the best hit rate, while one was looked for."""
        return self.path / "best.json"

    @property
    def recommendations(self) -> Path:
        """Items for the users that were asked about."""
        return self.path / "recommendations.json"

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

    def logged_ranks(self, attempt: int) -> list[int]:
        """Ranks of an attempt that have a log, in ascending order."""
        return sorted(int(path.name[5:10]) for path in self.logs(attempt).glob("rank-?????.stdout"))

    def heartbeat(self, attempt: int, rank: int) -> Path:
        """What one rank of training is at, written again and again (onerec.pulse)."""
        return self.logs(attempt) / f"rank-{rank:05d}.beat.json"

    def heartbeats(self, attempt: int) -> dict[int, Path]:
        """The signs of life that there are, by rank."""
        return {int(path.name[5:10]): path for path in self.logs(attempt).glob("rank-?????.beat.json")}

    def stacks(self, attempt: int, rank: int) -> Path:
        """Where the threads of one rank stood when that was asked for."""
        return self.logs(attempt) / f"rank-{rank:05d}.stacks.txt"

    def failure(self, attempt: int) -> Path:
        """Why an attempt failed: which rank, where, its exception, its last lines."""
        return self.logs(attempt) / "failure.json"

    def launcher_logs(self, attempt: int) -> Path:
        """What torchrun itself keeps of an attempt."""
        return self.logs(attempt) / "torchrun"

    def attempts(self) -> list[Path]:
        """Log folders of all attempts, oldest first."""
        return [self.logs(number) for number in self.attempt_numbers()]

    def attempt_numbers(self) -> list[int]:
        """Attempts that have a log folder, in ascending order."""
        folders = (self.path / "logs").glob("attempt-*")
        found = (ATTEMPT_FOLDER.fullmatch(folder.name) for folder in folders)
        return sorted(int(match[1]) for match in found if match)

    def process_records(self, attempt: int) -> list[Path]:
        """Who the processes of an attempt were, as the shim of each rank wrote it down."""
        return sorted(self.logs(attempt).glob("rank-*.pid.json"))

    def conversion(self, step: int) -> StepDir:
        """Records of a conversion that a person asked for."""
        return StepDir(self.path / f"convert-step{step}")

    def converted_checkpoint(self, step: int, dtype: str = "bf16") -> Path:
        """Hugging Face folder of one checkpoint; formats other than bf16 have folders of their own."""
        name = "converted" if dtype == "bf16" else f"converted-{dtype}"
        return self.path / f"step{step}" / f"global_step{step}" / name

    def converted_formats(self, step: int) -> list[str]:
        """Number formats in which a checkpoint stands as a Hugging Face folder."""
        names = sorted(path.name for path in self.converted_checkpoint(step).parent.glob("converted*"))
        return ["bf16" if name == "converted" else name.removeprefix("converted-") for name in names]

    def checkpoints(self) -> list[int]:
        """Steps that have a complete checkpoint, in ascending order."""
        marks = self.path.glob("step*/COMMIT.json")
        found = (STEP_FOLDER.fullmatch(mark.parent.name) for mark in marks)
        return sorted(int(match[1]) for match in found if match)

    def checkpoint(self, step: int) -> Path:
        """Folder of one checkpoint."""
        return self.path / f"step{step}"

    def commit_record(self, step: int) -> Path:
        """What makes a checkpoint complete: digests and sizes of its files."""
        return self.checkpoint(step) / "COMMIT.json"

    def trainer_state(self, step: int) -> Path:
        """All of a checkpoint that is no tensor: position, counts, how its steps were taken."""
        return self.checkpoint(step) / f"global_step{step}" / "trainer.json"

    def unmarked_checkpoints(self) -> list[Path]:
        """Folders that are named like checkpoints and are not complete."""
        named = [path for path in self.path.glob("step*") if STEP_FOLDER.fullmatch(path.name)]
        unmarked = [path for path in named if not (path / "COMMIT.json").exists()]
        return sorted(path for path in unmarked if path.exists())  # else it was pruned meanwhile

    def quarantined_checkpoints(self) -> list[Path]:
        """Checkpoints that were found damaged and set aside."""
        return sorted(self.path.glob("step*.quarantined-*"))

    def leftovers(self, patterns: tuple[str, ...]) -> list[Path]:
        """What interrupted work left here: `patterns` are those at the head of this file."""
        return sorted({path for pattern in patterns for path in self.path.glob(pattern)})

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
    def page(self) -> Path:
        """Everything about the run as one HTML page, when somebody has asked for it."""
        return self.path / "report.html"

    @property
    def lock(self) -> Path:
        """Held while a runner is alive."""
        return self.path / "lock"

    @property
    def stop_file(self) -> Path:
        """A clean stop is asked for by this file."""
        return self.path / "control" / "stop.json"

    @property
    def lease(self) -> Path:
        """Shows, while an attempt is wanted, which one; its processes end when it no longer does."""
        return self.path / "control" / "lease.json"

    @property
    def stacks_request(self) -> Path:
        """Asks the ranks of an attempt to write down where they stand."""
        return self.path / "control" / "stacks.json"

    @property
    def job_script(self) -> Path:
        """What is submitted to Slurm."""
        return self.path / "sbatch.sh"

    @property
    def job_log(self) -> Path:
        """What the runner wrote in jobs of Slurm, over all of them."""
        return self.path / "slurm.log"

    @property
    def notify_log(self) -> Path:
        """What the notification command wrote, over all ends of the run."""
        return self.path / "notify.log"

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

    def older_manifests(self) -> list[Path]:
        """Manifests that were replaced, oldest first."""
        found = [path for path in self.path.glob("manifest.*.toml") if path.name.split(".")[1].isdecimal()]
        return sorted(found, key=lambda path: int(path.name.split(".")[1]))

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

    def step_folders(self) -> list[StepDir]:
        """Folders of stages by what is there, without the journal; those set aside are none."""
        orders = self.path.glob("*/config.json")
        return [StepDir(path.parent) for path in sorted(orders) if not SET_ASIDE.fullmatch(path.parent.name)]

    def leftovers(self) -> list[Path]:
        """What interrupted writes left beside the manifest, and in the folder of the control file."""
        return sorted([*self.path.glob(".*.tmp"), *self.stop_file.parent.glob(".*.tmp")])

    def inside(self, path: str) -> str:
        """A path relative to the run directory, for the journal: the directory may be moved."""
        return Path(path).relative_to(self.path).as_posix()


def find_run(run: str | None, *, runs: Path = Path("runs"), may_lack_journal: bool = False) -> RunDir:
    """The run that a person means: a run directory, a name in `runs`, or (None) the run last started.

    `may_lack_journal`: its manifest is enough. Raises ConfigError naming what was looked for.
    """
    candidates = [Path(run), runs / run] if run is not None else [runs / LATEST]
    for path in candidates:
        if RunDir(path).events.is_file() or (may_lack_journal and RunDir(path).manifest.is_file()):
            return RunDir(path.resolve())
    tried = " or ".join(dict.fromkeys(str(path) for path in candidates))
    raise ConfigError(f"no run at {tried}; name a run directory, or start one: python -m runner MANIFEST")
