"""The config.json of every program: all that one step is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

from onerec.config.build import BuildData, Columns
from onerec.config.data import DataOrder, Dataset
from onerec.config.evaluation import Evaluation
from onerec.config.model import InitModel, ModelSource, ModelTest, Vocab
from onerec.config.section import Cosmetic, Later, Section, Topology
from onerec.config.training import (
    Checkpointing,
    Compute,
    Duration,
    Monitoring,
    Optim,
    Trainable,
    Validating,
)


class BuildDataConfig(Section):
    """Download a public data set and write it as parquet rows with semantic ids."""

    kind: Literal["build_data"] = "build_data"
    output_dir: str
    """Gets the folders of OUTPUTS, items.parquet, histories.parquet and codebooks/."""
    seed: NonNegativeInt
    vocab: Vocab
    data: BuildData


class EncodeItemsConfig(Section):
    """Give new items ids by the codebooks of a build_data stage; the ids that there are stay as they are."""

    kind: Literal["encode_items"] = "encode_items"
    output_dir: str
    """Folder of this step's own records."""
    built_dir: str
    """Output folder of the build_data stage: its items.parquet and codebooks/."""
    items: str
    """Table of the new items, with the columns that the build had."""
    columns: Columns
    encoded_before: tuple[str, ...] = ()
    """Files that this program wrote for other new items: their ids are not given again either."""
    target: str
    """The parquet file to write: pid, sid, sid_text, title of the new items."""


class InitModelConfig(Section):
    """Write a randomly initialised Qwen3 with a tokenizer."""

    kind: Literal["init_model"] = "init_model"
    output_dir: str
    """Gets model/, a Hugging Face folder."""
    seed: NonNegativeInt
    corpus_dirs: tuple[str, ...]
    """Parquet folders whose texts train the tokenizer."""
    model: InitModel
    use_tie_weights: bool


class ExpandVocabConfig(Section):
    """Add the itemic tokens to a Hugging Face folder."""

    kind: Literal["expand_vocab"] = "expand_vocab"
    output_dir: str
    """Gets model/, a Hugging Face folder."""
    seed: NonNegativeInt
    base_model_dir: str
    model_class: str
    vocab: Vocab


class PrepareConfig(Section):
    """Read, validate and tokenise a dataset into a token store."""

    kind: Literal["prepare"] = "prepare"
    output_dir: str
    """The store: Arrow files, index, rejects.jsonl, summary.json."""
    tokenizer_dir: str
    """Hugging Face folder whose tokenizer and chat template are used."""
    sources: tuple[str, ...]
    """The dataset's sources, stages already replaced by folders."""
    dataset: Dataset
    vocab: Vocab
    runs_dir: Annotated[str | None, Cosmetic] = None
    """Parent of run directories; files that one of them has prepared in the same way are taken from it."""


class PreviewConfig(Section):
    """Show samples of a dataset as they are trained."""

    kind: Literal["preview"] = "preview"
    output_dir: str
    """Gets preview.json."""
    store_dir: str | None = None
    """The prepared store, once there is one: then the samples are the first that are trained."""
    order: DataOrder | None = None
    """How the first stage that reads the store orders it; given with store_dir alone."""
    tokenizer_dir: str
    """Hugging Face folder whose tokenizer and chat template are used; expanded in memory where it is not."""
    sources: tuple[str, ...]
    dataset: Dataset
    vocab: Vocab
    seed: NonNegativeInt
    samples: PositiveInt = 3
    """How many samples are shown."""


class InspectDataConfig(Section):
    """Read every footer and some rows of a dataset, and tell what preparing it would meet."""

    kind: Literal["inspect_data"] = "inspect_data"
    output_dir: str
    """Gets inspection.json."""
    tokenizer_dir: str | None = None
    """Hugging Face folder of the tokenizer; without one, tokens are not estimated."""
    sources: tuple[str, ...]
    dataset: Dataset
    vocab: Vocab
    sample_rows: PositiveInt = 200
    """Most rows that are read, spread over the files."""


class ShardConfig(Section):
    """Merge parquet trees and split them into files of equal numbers of rows."""

    kind: Literal["shard"] = "shard"
    output_dir: str
    """Gets part-00000-of-00010.parquet and so on, and file_list.json."""
    sources: tuple[str, ...]
    rows_per_file: PositiveInt = 1000
    max_reject_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of rows that may break the field rules; they are left out and written to rejects.jsonl."""


class TrainConfig(Section):
    """All that one training stage is told."""

    kind: Literal["train"] = "train"
    stage: str
    output_dir: str
    """The stage's folder: checkpoints, metrics.jsonl, latest, result.json."""
    tensorboard_dir: str
    stop_file: str
    """The stage saves and ends at the next step boundary once this file is there."""
    seed: NonNegativeInt
    model: ModelSource
    vocab: Vocab
    data: DataOrder
    optim: Optim
    trainable: Trainable
    compute: Compute
    checkpoint: Checkpointing
    monitor: Monitoring
    validating: Validating = Field(default_factory=Validating)
    hit_rate_dir: str | None = None
    """Parquet folder of chat rows that are answered by an item: questions of the hit rate."""
    item_map: str | None = None
    """items.parquet of the items that may be answers; with hit_rate_dir."""
    add_think_pattern: Annotated[bool, Later] = False
    """How the stage's datasets render chat rows, and so the questions."""
    duration: Duration

    @model_validator(mode="after")
    def _questions_have_items(self) -> TrainConfig:
        if self.hit_rate_dir is not None and self.item_map is None:
            raise ValueError("hit_rate_dir needs item_map: the items that may be answers")
        return self


class ConvertConfig(Section):
    """Write one checkpoint as a Hugging Face folder."""

    kind: Literal["convert"] = "convert"
    output_dir: str
    """Folder of this step's own records, such as result.json."""
    stage_dir: str | None = None
    """Training stage whose checkpoint is converted; or:"""
    checkpoint_dir: str | None = None
    """A checkpoint outside of a run, also of OpenOneRec's trainer: a step folder, or a folder of steps."""
    target_dir: str | None = None
    """The folder to write; default: one in the checkpoint."""
    step: NonNegativeInt | None = None
    """Which checkpoint; default: the newest complete one of a stage."""
    link: str | None = None
    """Symbolic link that is pointed at the converted folder."""
    model_dir: str
    """Hugging Face folder that the stage started from: its config and tokenizer go along."""
    base_model: Annotated[str | None, Cosmetic] = None
    """Name of the model that the programme started from, for the model card."""
    best: Annotated[bool, Later] = False
    """Without step: the checkpoint that best.json of the stage names, not the newest."""
    item_map: str | None = None
    """items.parquet that goes along with the model, for whoever asks it for items."""
    add_think_pattern: Annotated[bool, Later] = False
    """How the stage's datasets render chat rows; the item map that goes along tells it."""
    manifest: Annotated[str | None, Cosmetic] = None
    """The run's manifest, whose digest the model card tells."""
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Number format of the exported weights."""
    max_shard_gigabytes: PositiveFloat = 5.0
    """Size in 10**9 bytes above which a new safetensors file is begun."""

    @model_validator(mode="after")
    def _names_one_checkpoint(self) -> ConvertConfig:
        if (self.stage_dir is None) == (self.checkpoint_dir is None):
            raise ValueError("give either stage_dir or checkpoint_dir")
        if self.checkpoint_dir is not None and self.target_dir is None:
            raise ValueError(
                "checkpoint_dir needs target_dir: nothing is written into other people's folders"
            )
        return self


class TestModelConfig(Section):
    """Load a Hugging Face folder, run it, generate with it, and tell whether it is sound."""

    __test__ = False  # the name begins with Test; it is no test class
    kind: Literal["test_model"] = "test_model"
    output_dir: str
    model_dir: str
    test: ModelTest
    device: Annotated[Literal["auto", "cpu", "cuda"], Topology] = "auto"
    """Where the model runs; auto: on a GPU if torch sees one."""
    heldout_dir: str | None = None
    """Parquet folder of held-out chat rows."""
    popularity_dir: str | None = None
    """Parquet folder of the chat rows that the popularity model counts."""
    add_think_pattern: bool = False
    """How the training stage rendered its chat rows."""


class EvaluateConfig(Section):
    """Measure recommenders on held-out events, beside simple models of the same split."""

    kind: Literal["evaluate"] = "evaluate"
    output_dir: str
    """Gets evaluation.json (figures), ranks.parquet (per user and model) and result.json."""
    seed: NonNegativeInt
    models: Annotated[dict[str, str], Field(min_length=1)]
    """Hugging Face folders by the name that they have in the table."""
    main: str | None = None
    """Which of them stands first, and the others are compared with; default: the first by name."""
    built_dir: str
    """Output folder of a build_data stage: test/, test_tasks/, items.parquet, histories.parquet."""
    split: Literal["validation", "test"] = "test"
    """Which held-out events are asked for."""
    evaluation: Evaluation
    add_think_pattern: bool | None = None
    """How the training stage rendered its chat rows; default: as each model's item map says."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Topology] = "auto"
    """Where the models run; auto: on a GPU if torch sees one."""


class RecommendConfig(Section):
    """Answer for users given by their histories, with a model folder that has an item map."""

    kind: Literal["recommend"] = "recommend"
    output_dir: str
    """Gets recommendations.json."""
    model_dir: str
    histories: Annotated[tuple[tuple[str, ...], ...], Field(min_length=1)]
    """Item ids (pid) of each user, oldest first."""
    top_k: PositiveInt = 10
    num_beams: PositiveInt = 32
    exclude_history: bool = True
    question: str | None = None
    """What is asked, with {history} in it; default: the wording that the model was trained with."""
    add_think_pattern: bool | None = None
    """How questions are rendered; default: as the model's item map says."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Topology] = "auto"
    """Where the model runs; auto: on a GPU if torch sees one, a small model for few users without torch."""


StepConfig = Annotated[
    BuildDataConfig
    | EncodeItemsConfig
    | EvaluateConfig
    | RecommendConfig
    | InitModelConfig
    | ExpandVocabConfig
    | PrepareConfig
    | PreviewConfig
    | InspectDataConfig
    | ShardConfig
    | TrainConfig
    | ConvertConfig
    | TestModelConfig,
    Field(discriminator="kind"),
]


def load_config(path: Path) -> StepConfig:
    """Read a config.json; raises ValueError naming file and key when it does not fit."""
    adapter: TypeAdapter[StepConfig] = TypeAdapter(StepConfig)
    try:
        return adapter.validate_json(path.read_bytes())
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from fault


def dump_config(config: BaseModel) -> str:
    """The text of a config.json: sorted keys, one key a line."""
    document: dict[str, Any] = config.model_dump(mode="json")
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
