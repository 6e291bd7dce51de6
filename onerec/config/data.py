"""Settings of data: where rows come from, how they become packs, in which order they are read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from onerec.config.section import NonNegativeFloat, Section, Share, Speed


class StageSource(Section):
    """Data or a model made by another stage of the same manifest."""

    stage: str
    """Name of a stage that comes earlier."""
    name: str
    """Which of its outputs: a folder of that name in the stage's folder."""


class Dataset(Section):
    """Parquet files and how their rows become packs of tokens."""

    name: Literal["chat_completion_parquet"] = "chat_completion_parquet"
    """Format of the rows: OpenOneRec's chat (`messages`) and text (`segments`) rows."""
    sources: str | StageSource | Annotated[tuple[str | StageSource, ...], Field(min_length=1)]
    """A JSON list of files, a file, a folder, a glob, a URL, `{stage, name}`, or a list of these."""
    max_length: PositiveInt = 32768
    """Tokens of one pack, which is what one rank reads in one micro-step."""
    num_epochs: PositiveInt = 1
    """How many times a training stage reads the dataset."""
    num_workers: Annotated[NonNegativeInt, Speed] = 2
    """Processes per rank that read packs; 0 reads in the trainer itself."""
    only_assistant_loss: bool = True
    """Chat rows: train on what the assistant says only; false trains on every token but the first."""
    add_think_pattern: bool = False
    """Chat rows: /think or /no_think after user turns, and an empty think block where an answer has none."""
    local_shuffle_buffer_size: PositiveInt = 100_000
    """Samples within which packs are put together after the global shuffle."""
    shuffle_memory_gigabytes: PositiveFloat = 64.0
    """Tokens that are shuffled as a whole, in 10**9 bytes; a larger store is shuffled in two levels."""
    shuffle_seed: NonNegativeInt | None = None
    """Seed of the order; default: the seed of the stage that trains."""
    max_sample_length: PositiveInt | None = None
    """Longest sample in tokens, the document-end token included; default: max_length."""
    overlong: Literal["drop", "split", "error"] = "split"
    """Longer samples: drop and count them, split them at the limit (segments; chat is dropped), or fail."""
    max_reject_fraction: Share = 0.001
    """Preparation fails when more than this share of the rows is rejected."""
    itemic_id_range: tuple[NonNegativeInt, NonNegativeInt] | None = None
    """First and last itemic id; derived from [vocab], and checked against it when given."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the rows, chosen by uuid alone, that is never trained on and evaluated instead."""
    num_processes: Annotated[NonNegativeInt, Speed] = 0
    """Processes per host that prepare the data; 0 is one per core."""


class Mixture(Section):
    """How much of an epoch each source, or each dataset, is; without one, each is read once."""

    by: Literal["source", "dataset"] = "source"
    """Whether the names below are those of the rows' sources or of the stage's datasets."""
    unit: Literal["tokens", "samples"] = "tokens"
    """What weights are shares of."""
    weights: dict[str, NonNegativeFloat] | None = None
    """Share of each name, all of them named; any scale, 0 leaves one out. An epoch keeps its length."""
    epochs: dict[str, Annotated[float, Field(ge=0, le=1000)]] | None = None
    """How often each name is read in one epoch, such as 0.5 or 3; names not given are read once."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Mixture:
        if (self.weights is None) == (self.epochs is None):
            raise ValueError("a mixture has either weights or epochs; give one of them")
        given = self.weights if self.weights is not None else self.epochs
        if not given:
            raise ValueError("the mixture names nothing; give each name its number, or remove the mixture")
        if self.weights is not None and not any(self.weights.values()):
            raise ValueError("every weight is 0; give one name at least a weight")
        return self


class PreparedDataset(Section):
    """A prepared dataset that a stage reads."""

    name: str
    """The dataset's name in the manifest."""
    store_dir: str
    """Folder of its store."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of its rows that is evaluated instead of trained on."""


class DataOrder(Section):
    """The data of a training stage: prepared stores, and how they are mixed, ordered and packed."""

    datasets: Annotated[tuple[PreparedDataset, ...], Field(min_length=1)]
    """What is trained on."""
    validation: PreparedDataset | None = None
    """What is evaluated besides the validation fractions; its rows are never trained on."""
    mixture: Mixture | None = None
    """How much of an epoch each source or dataset is; None reads every sample once."""
    max_length: PositiveInt
    num_epochs: PositiveInt
    num_workers: Annotated[NonNegativeInt, Speed]
    local_shuffle_buffer_size: PositiveInt
    shuffle_memory_gigabytes: PositiveFloat = 64.0
    shuffle_seed: NonNegativeInt
