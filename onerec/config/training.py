"""Settings of a training stage, section by section; manifests write them flat."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from onerec.config.section import Cosmetic, Later, NonNegativeFloat, Section, Speed


class Optim(Section):
    """AdamW and its learning rate."""

    learning_rate: PositiveFloat
    """Peak learning rate."""
    min_lr: NonNegativeFloat = 0.0
    """Where the decay ends; training goes on at this rate."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """Shape of the decay after the warm-up; wsd stays at the peak and decays linearly at the end."""
    num_warmup_steps: NonNegativeInt = 0
    """Optimizer steps of linear warm-up; the first step already has a non-zero rate."""
    num_training_steps: PositiveInt | None = None
    """Steps after which the rate has reached min_lr; default: the steps of the stage."""
    num_decay_steps: PositiveInt | None = None
    """With wsd: length of the decay that ends at num_training_steps; default: a tenth of those."""
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
    """Recompute activations in the backward pass as activation_checkpointing says; false keeps them all."""
    activation_checkpointing: Annotated[Literal["auto", "none", "selective", "full"], Speed] = "auto"
    """selective recomputes what is cheap to recompute, full whole layers; auto takes the least that fits."""
    reshard_after_forward: Annotated[bool, Speed] = True
    """Free each layer's gathered weights after its forward pass."""
    sharding: Annotated[Literal["auto", "full", "hybrid"], Speed] = "auto"
    """full: over all ranks; hybrid: within a host, a copy on each; auto: hybrid with several hosts."""
    compile: Annotated[Literal["auto", "on", "off"], Speed] = "auto"
    """torch.compile of each decoder layer; auto is on with CUDA."""
    deterministic: Annotated[bool, Speed] = False
    """Use only GPU kernels that give the same bits every time; slower, but resuming is then bit-identical."""


class Checkpointing(Section):
    """When checkpoints are written, which are kept, and what a stage starts from."""

    save_checkpoint_per_step: Annotated[PositiveInt, Cosmetic] = 500
    """Optimizer steps between checkpoints; the last step always saves one."""
    save_checkpoint_per_minutes: Annotated[PositiveFloat | None, Cosmetic] = None
    """Besides that, a checkpoint once this many minutes have passed since the one before; default: none."""
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
    """Write a torch.profiler trace of each attempt and rank to the stage's profile folder."""
    profiler_steps: Annotated[tuple[PositiveInt, PositiveInt], Cosmetic] = (3, 5)
    """First and last step of an attempt that enable_profiler traces, counted from 1."""
    trackers: Annotated[tuple[Literal["wandb", "mlflow", "trackio"], ...], Cosmetic] = ()
    """Where metrics go besides TensorBoard; each is a package: pip install "onerec-runner[NAME]"."""
    loss_spike_deviations: Annotated[NonNegativeFloat, Cosmetic] = 6.0
    """Warn of a step whose loss is this many standard deviations above the recent ones; 0: never."""


class Validating(Section):
    """When a stage is evaluated on rows that it never trains on."""

    validation_per_step: Annotated[PositiveInt, Cosmetic] = 500
    """Optimizer steps between evaluations, where there is validation data; the last step has one too."""
    max_validation_packs: Annotated[PositiveInt | None, Cosmetic] = None
    """Most packs of one evaluation, always the same ones; default: all validation data."""
    hit_rate_per_step: Annotated[PositiveInt, Later] = 500
    """Optimizer steps between hit rates, where hit_rate names questions; the last step has one too."""
    hit_rate_questions: Annotated[PositiveInt, Later] = 200
    """Most questions of one hit rate, always the same ones, drawn by the seed."""
    hit_rate_beams: Annotated[PositiveInt, Later] = 10
    """Length of the list in which the answer must be: hit rate and NDCG at this many."""
    export: Annotated[Literal["last", "best"], Later] = "last"
    """Which checkpoint the next stage starts from: the last, or that with the best NDCG of its hit rates."""


class Duration(Section):
    """How long a stage trains and how large its steps are."""

    max_steps: PositiveInt | None = None
    """Step at which the stage stops; default: at the end of the dataset's num_epochs."""
    packs_per_step: PositiveInt | None = None
    """Packs of one optimizer step over all ranks; default: ranks at the stage's start, recorded."""
    seed: NonNegativeInt | None = None
    """Seed of this stage; default: the run's."""


class Training(Optim, Trainable, Compute, Checkpointing, Monitoring, Validating, Duration):
    """Every key of a training stage, flat, as [training] and [stages.NAME] write them."""

    @model_validator(mode="after")
    def _rates_fit(self) -> Training:
        if self.min_lr > self.learning_rate:
            raise ValueError(f"min_lr {self.min_lr} is above learning_rate {self.learning_rate}; lower it")
        return self

    @model_validator(mode="after")
    def _decay_fits(self) -> Training:
        if self.num_decay_steps is not None and self.lr_scheduler_type != "wsd":
            raise ValueError('num_decay_steps needs lr_scheduler_type = "wsd"; set it or remove it')
        return self

    @model_validator(mode="after")
    def _profiled_steps_fit(self) -> Training:
        first, last = self.profiler_steps
        if last < first:
            raise ValueError(f"profiler_steps ends before it begins: [{first}, {last}]; write them in order")
        return self

    @model_validator(mode="after")
    def _freezing_fits(self) -> Training:
        if self.start_optimize_embedding_index is not None and not self.freeze_llm:
            raise ValueError("start_optimize_embedding_index needs freeze_llm = true; set it or remove it")
        return self

    @model_validator(mode="after")
    def _resuming_fits(self) -> Training:
        if self.resume_from is None and self.resume_from_tag is not None:
            raise ValueError(
                "resume_from_tag needs resume_from, the folder of that checkpoint; add it or remove this"
            )
        return self
