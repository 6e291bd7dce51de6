"""The tables of a manifest: what a person may write, what each key means, and what changing it may change.

Reuses the sections that the steps are told (`onerec.config`); nothing here reads a file or knows a position.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from onerec.config import (
    OUTPUTS,
    BuildData,
    Cosmetic,
    Dataset,
    Evaluation,
    InitModel,
    Mixture,
    ModelTest,
    Section,
    StageSource,
    Topology,
    Training,
    Vocab,
)


class Model(Section):
    """The base model that the programme starts from."""

    base_model_dir: str | None = None
    """Hugging Face folder of a Qwen3 before vocabulary expansion; not needed with an init_model stage."""
    model_class: Literal["Qwen3ForCausalLM"] = "Qwen3ForCausalLM"
    """Class of transformers that loads it."""
    use_tie_weights: bool | None = None
    """Whether embedding and head are one table; default: what the model's own config says."""


class ItemVocab(Vocab):
    """The itemic tokens, and which items they spell."""

    item_map: str | None = None
    """Parquet with the columns pid and sid, of ids made elsewhere: goes along with every exported model."""


class Slurm(Section):
    """What a job asks of Slurm, as options of sbatch; hosts and processes are nnodes and nproc_per_node."""

    partition: Annotated[str | None, Topology] = None
    """Partition, or several with commas; default: the site's."""
    account: Annotated[str | None, Topology] = None
    """Account that the job is charged to."""
    qos: Annotated[str | None, Topology] = None
    """Quality of service."""
    time: Annotated[str | None, Topology] = None
    """Time limit of one job, "2-00:00:00" or "12:00:00"; the run goes on in the same job, queued again."""
    gpus_per_node: Annotated[PositiveInt | str | None, Topology] = None
    """GPUs of each host, 8 or "a100:8"; as many processes per host, unless nproc_per_node says otherwise."""
    cpus_per_task: Annotated[PositiveInt | None, Topology] = None
    """Cores of each process."""
    mem: Annotated[str | None, Topology] = None
    """Memory of each host, "900G"; "0" is all of it."""
    constraint: Annotated[str | None, Topology] = None
    """Features that the hosts must have."""
    reservation: Annotated[str | None, Topology] = None
    """Reservation to take the hosts from."""
    exclusive: Annotated[bool, Topology] = False
    """Whether no other job may run on the hosts."""
    options: Annotated[tuple[str, ...], Topology] = ()
    """Further options of sbatch, such as "--exclude=node7"."""


class Cluster(Section):
    """Where the training stages run, and how their processes are started."""

    launcher: Annotated[Literal["local", "torchrun", "mpirun", "slurm"], Topology] = "local"
    """local: one process here; torchrun: here or on the hosts of hostfile; mpirun: Open MPI; slurm: a job."""
    hostfile: Annotated[str | None, Topology] = None
    """One host a line, "host slots=8"."""
    nproc_per_node: Annotated[PositiveInt | Literal["auto"], Topology] = "auto"
    """Processes per host; "auto" is one per GPU, and 1 without a GPU."""
    nnodes: Annotated[PositiveInt | Annotated[str, Field(pattern=r"^[0-9]+(:[0-9]+)?$")] | None, Topology] = (
        None
    )
    """Hosts; torchrun also takes a range, "1:4"; default: every host of hostfile, or this host."""
    network_interface: Annotated[str | None, Topology] = None
    """Such as eth0; default: each host finds its own, from its route to the first other host."""
    ssh_config: Annotated[str | None, Topology] = None
    """Configuration file of ssh (its -F) that says how to reach the hosts; default: ssh's own files."""
    numa_binding: Annotated[Literal["node", "socket", "exclusive", "core-complex"] | None, Topology] = None
    """torchrun with GPUs: the CPUs beside its GPU that each rank runs on; default: all."""
    max_restarts: Annotated[NonNegativeInt, Topology] = 2
    """How often a step that a fault of the world ended is started again; a new checkpoint gives all back."""
    setup_timeout_seconds: Annotated[PositiveFloat, Topology] = 1800.0
    """A rank hangs that shows nothing new for so long before its first step is done, or outside training."""
    step_timeout_seconds: Annotated[PositiveFloat, Topology] = 300.0
    """A rank hangs that shows nothing new for so long, and for 10 usual steps; then all are started again."""
    save_timeout_seconds: Annotated[PositiveFloat, Topology] = 1800.0
    """The same while a checkpoint is copied, or the one before it is waited for."""
    stop_grace_seconds: Annotated[PositiveFloat, Topology] = 600.0
    """How long a stage that is asked to stop may take to end its step and save; then it is ended."""
    env: Annotated[dict[str, str], Topology] = Field(default_factory=dict)
    """Exported to every process, and kept in the run directory: secrets belong into env_file."""
    env_file: Annotated[str | None, Topology] = None
    """File of NAME=value lines, on every host, for secrets: they reach every process and are kept nowhere."""
    slurm: Annotated[Slurm, Topology] = Field(default_factory=Slurm)
    """What a job asks for, with launcher "slurm"."""

    @property
    def node_range(self) -> tuple[int, int]:
        """Fewest and most hosts, as written: equal unless nnodes is a range; (1, 1) when not written."""
        low, _, high = str(self.nnodes or 1).partition(":")
        return int(low), int(high or low)


class Notify(Section):
    """A command of yours that is told when a run has ended."""

    on: Annotated[tuple[Literal["done", "failed", "stopped"], ...], Cosmetic] = ("done", "failed", "stopped")
    """Which ends are told; stopped is on request or at the keyboard."""
    command: Annotated[tuple[str, ...], Cosmetic] = ()
    """Program and arguments, no shell line; a path is relative to the manifest. JSON comes on its stdin."""
    timeout_seconds: Annotated[PositiveFloat, Cosmetic] = 30.0
    """How long it may take; then it is ended. Whatever it does, the run stays as it is."""


class BuildDataStage(BuildData):
    """Raw interactions and item texts to semantic ids and parquet; gives the folders of OUTPUTS."""

    kind: Literal["build_data"]


class InitModelStage(InitModel):
    """A Qwen3 from scratch, instead of model.base_model_dir."""

    kind: Literal["init_model"]


class ExpandVocabStage(Section):
    """Add the itemic tokens of [vocab] to a model."""

    kind: Literal["expand_vocab"]
    starts_from: str | None = None
    """Stage whose model is expanded; default: the newest model before this stage."""


class TrainStage(Training):
    """Train on one or several datasets; the final checkpoint is converted for the next stage."""

    kind: Literal["train"]
    dataset: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """Which of [datasets]; a list trains on all of them together."""
    mixture: Mixture | None = None
    """How much of an epoch each source or dataset is; default: every sample once."""
    validation: str | None = None
    """Which of [datasets] is evaluated every validation_per_step steps; its rows are never trained on."""
    hit_rate: StageSource | None = None
    """Questions that are asked every hit_rate_per_step steps: `{ stage = "data", name = "validation" }`."""
    starts_from: str | None = None
    """Stage whose model is trained; default: the newest model before this stage."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets that it trains on."""
        return self.dataset if isinstance(self.dataset, tuple) else (self.dataset,)

    @property
    def read_datasets(self) -> tuple[str, ...]:
        """Names of all datasets that it reads: what it trains on, and what it is evaluated on."""
        return (*self.datasets, *(() if self.validation is None else (self.validation,)))

    @model_validator(mode="after")
    def _best_is_measured(self) -> TrainStage:
        if self.export == "best" and self.hit_rate is None:
            raise ValueError(
                'export = "best" needs hit_rate, by which checkpoints are compared; write hit_rate = '
                '{ stage = "NAME", name = "validation" }, or export = "last"'
            )
        return self


class TestModelStage(ModelTest):
    """Load a stage's model, run it, generate with it, and tell whether it is sound."""

    __test__ = False  # the name begins with Test; it is no test class
    kind: Literal["test_model"]
    starts_from: str | None = None
    """Stage whose model is tested; default: the newest model before this stage."""


class EvaluateStage(Evaluation):
    """Measure a stage's model on held-out events, beside simple models and other stages' models."""

    kind: Literal["evaluate"]
    data: str | None = None
    """The build_data stage whose held-out events are asked for; or built_dir."""
    built_dir: str | None = None
    """The same, made elsewhere: a build_data stage's folder rows/ of another run."""
    split: Literal["validation", "test"] = "test"
    """Which held-out events are asked for."""
    starts_from: str | None = None
    """Stage whose model is measured; default: the newest model before this stage."""
    models: Annotated[dict[str, str], Field(min_length=1)] | None = None
    """Further stages whose models are measured, by their name in the table: `{ "before SFT" = "stage2" }`."""

    @model_validator(mode="after")
    def _has_one_source(self) -> EvaluateStage:
        if (self.data is None) == (self.built_dir is None):
            raise ValueError('give data = "NAME", a build_data stage, or built_dir; one of the two')
        return self


Stage = Annotated[
    BuildDataStage | InitModelStage | ExpandVocabStage | TrainStage | TestModelStage | EvaluateStage,
    Field(discriminator="kind"),
]


def start_of(stage: Stage) -> str | None:
    """The stage that a stage says it starts from; None when it says nothing or cannot."""
    if isinstance(stage, (ExpandVocabStage, TrainStage, TestModelStage, EvaluateStage)):
        return stage.starts_from
    return None


MODEL_KINDS = ("init_model", "expand_vocab", "train")
"""Kinds of stage that give a model."""
DATA_OUTPUTS = OUTPUTS
"""Names of the outputs of a build_data stage that hold rows."""


class Manifest(Section):
    """One training programme: base model, itemic vocabulary, datasets, stages and cluster."""

    name: Annotated[str, Cosmetic]
    """The run: its directory is output_dir/name."""
    output_dir: Annotated[str, Cosmetic] = "runs"
    """Parent of the run directory; relative to the folder that the runner is started in, as outputs are."""
    seed: NonNegativeInt = 0
    """Seed of everything random that has no seed of its own."""
    model: Model = Field(default_factory=Model)
    vocab: ItemVocab = Field(default_factory=ItemVocab)
    cluster: Cluster = Field(default_factory=Cluster)
    notify: Annotated[Notify, Cosmetic] = Field(default_factory=Notify)
    datasets: dict[str, Dataset] = Field(default_factory=dict)
    """Datasets by name."""
    training: dict[str, JsonValue] = Field(default_factory=dict)
    """Defaults of every training stage, already merged into `stages`; a stage overrides each key."""
    stages: Annotated[dict[str, Stage], Field(min_length=1)]
    """Stages by name, in the order they run."""
