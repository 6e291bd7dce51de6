"""An estimate of the most memory that one rank of a training stage needs, part by part. Pure arithmetic.

It counts what FSDP2 and autograd keep of a Qwen3 in our forward pass; a test holds the activations against
what autograd really keeps. The largest rank of the group is meant; a disk and a GPU are never looked at.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from onerec.config.training import Compute

Mode = Literal["none", "selective", "full"]
MODES: tuple[Mode, ...] = ("none", "selective", "full")
"""Activation checkpointing, least recomputation first."""

LOGITS_BYTES = 700 << 20
"""fp32 logits that the chunked loss has at one time, and where it makes their gradient; as the loss says."""
LAYERS_IN_FLIGHT = 2
"""Layers whose weights are gathered, or whose gradients are reduced, at one time: one works, one travels."""
MARGIN_SHARE = 0.02
"""Of all else: what the allocator cannot use for its blocks' sizes."""
MARGIN_BYTES = 1 << 30
"""CUDA context, kernels, NCCL and cuBLAS work space."""
SAFE_SHARE = 0.9
"""Of the memory there is, how much an estimate may fill: running out costs the run, recomputing some time."""


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a Qwen3ForCausalLM; `rows` of the embedding table, `tied` where the head is the same table."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    rows: int
    tied: bool

    @property
    def query(self) -> int:
        """Columns of all query heads."""
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        """Columns of all key heads; values have as many."""
        return self.kv_heads * self.head_dim

    @property
    def tables(self) -> int:
        """Tables of `rows` x `hidden`: embedding and head, or both in one."""
        return 1 if self.tied else 2

    @property
    def layer_parameters(self) -> int:
        """Parameters of one decoder layer, norms included."""
        attention = self.hidden * 2 * (self.query + self.key)
        return attention + 3 * self.hidden * self.intermediate + 2 * (self.hidden + self.head_dim)

    @property
    def root_parameters(self) -> int:
        """Parameters outside the decoder layers: embedding, head and last norm, one FSDP group."""
        return self.tables * self.rows * self.hidden + self.hidden

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layers * self.layer_parameters + self.root_parameters


@dataclass(frozen=True)
class StageShape:
    """What the memory of a training stage depends on."""

    model: ModelSizes
    compute: Compute
    max_length: int
    """Tokens of a pack."""
    shard_ranks: int
    """Ranks that share one copy of weights, gradients and optimizer."""
    on_gpu: bool
    """Where it runs: decides what "auto" means for compute_dtype and compile."""
    trained_rows: int | None = None
    """With freeze_llm: rows of each table that train; None trains everything."""

    @property
    def compute_bytes(self) -> int:
        """Bytes of one number of the forward pass."""
        dtype = self.compute.compute_dtype
        return 4 if dtype == "fp32" or (dtype == "auto" and not self.on_gpu) else 2

    @property
    def is_compiled(self) -> bool:
        """Whether decoder layers go through torch.compile."""
        return self.compute.compile == "on" or (self.compute.compile == "auto" and self.on_gpu)

    @property
    def trained_parameters(self) -> int:
        """Parameters that have gradients and moments."""
        if self.trained_rows is None:
            return self.model.parameters
        return self.trained_rows * self.model.hidden * self.model.tables


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that one rank needs when it needs most, in the backward pass of its last micro-step."""

    checkpointing: Mode
    weights: int
    """This rank's shard: masters, and frozen parameters in the compute format."""
    gathered: int
    """Whole weights in the compute format: embedding and head, which stay, and layers in flight."""
    gradients: int
    """This rank's shard, and whole gradients on their way to it."""
    optimizer: int
    """Both moments of this rank's shard."""
    activations: int
    """Kept for the backward pass, and what one layer computes again and makes on the way."""
    logits: int
    """One chunk of fp32 logits, and the head's gradient in fp32."""
    margin: int
    """Allocator and libraries."""

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by part."""
        return {name: value for name, value in asdict(self).items() if name != "checkpointing"}

    def to_json(self) -> dict[str, object]:
        """The same for programs; bytes."""
        return {"checkpointing": self.checkpointing, "total": self.total, "parts": self.parts}


def estimate(shape: StageShape, mode: Mode) -> MemoryEstimate:
    """Most memory of one rank with activations kept as `mode` says."""
    parts = {
        "weights": _weights(shape),
        "gathered": _gathered(shape),
        "gradients": _gradients(shape),
        "optimizer": 2 * _sharded(shape.trained_parameters * _master_bytes(shape), shape),
        "activations": shape.max_length * _activation_bytes_per_token(shape, mode),
        "logits": _logits(shape),
    }
    margin = MARGIN_BYTES + int(MARGIN_SHARE * sum(parts.values()))
    return MemoryEstimate(checkpointing=mode, margin=margin, **parts)


def choose_checkpointing(shape: StageShape, available_bytes: int) -> Mode:
    """The least recomputation that fits safely into `available_bytes`; full where not even that fits."""
    safe = SAFE_SHARE * available_bytes
    return next((mode for mode in MODES if estimate(shape, mode).total <= safe), "full")


def configured_checkpointing(compute: Compute) -> Mode | None:
    """What the manifest fixes; None leaves the choice to memory."""
    if not compute.enable_gradient_checkpointing:
        return "none"
    return None if compute.activation_checkpointing == "auto" else compute.activation_checkpointing


def estimate_stage(shape: StageShape, available_bytes: int | None) -> MemoryEstimate:
    """The estimate of the mode that the stage will use: configured, else chosen; full for unknown memory."""
    mode = configured_checkpointing(shape.compute)
    if mode is None:
        mode = "full" if available_bytes is None else choose_checkpointing(shape, available_bytes)
    return estimate(shape, mode)


def layer_bytes_per_token(shape: StageShape, mode: Mode) -> int:
    """What one decoder layer keeps of each token for its backward pass.

    none, eager: inputs of the four norms in fp32 and their scaled results, inputs of all products, operands
    and result of attention, gate and up. none, compiled: torch makes norms and activation function again.
    selective: the layer's input and the results of products and attention. full: the layer's input.
    """
    model, width = shape.model, shape.compute_bytes
    hidden, query, key, inner = model.hidden, model.query, model.key, model.intermediate
    if mode == "full":
        return width * hidden
    statistics = 4 * model.heads  # of attention, in fp32
    products = width * (2 * hidden + 2 * query + 2 * key + 2 * inner) + statistics
    if mode == "selective":
        return products
    trains = shape.trained_rows is None
    statistics += 4 * (2 + model.heads + model.kv_heads)  # of the four norms
    if shape.is_compiled:
        weights_inputs = 2 * hidden + inner if trains else 0
        return width * (2 * hidden + 3 * (query + key) + 2 * inner + weights_inputs) + statistics
    norms = (4 + width * trains) * (2 * hidden + query + key)
    attention = width * 2 * (query + key)
    feed_forward = width * (4 if trains else 3) * inner
    return norms + width * 2 * hidden * trains + attention + feed_forward + statistics


def _activation_bytes_per_token(shape: StageShape, mode: Mode) -> int:
    """All layers' kept bytes, those that one layer makes again, gradients on their way, and the ends."""
    model, width = shape.model, shape.compute_bytes
    kept = layer_bytes_per_token(shape, mode)
    again = 0 if mode == "none" else layer_bytes_per_token(shape, "none") - (kept if mode != "full" else 0)
    on_the_way = max(3 * width * model.intermediate, 16 * model.hidden)
    last_norm, rotary = (4 + width) * model.hidden, 2 * width * model.head_dim
    # the model's result, its trained rows and their gradient
    ends = last_norm + rotary + 3 * width * model.hidden
    return model.layers * kept + again + on_the_way + ends


def _master_bytes(shape: StageShape) -> int:
    return 4 if shape.compute.use_fp32_weight else 2


def _frozen_bytes(shape: StageShape) -> int:
    return shape.compute_bytes if shape.compute.use_fp32_weight else 2


def _sharded(count: int, shape: StageShape) -> int:
    return -(-count // shape.shard_ranks)


def _weights(shape: StageShape) -> int:
    frozen = 0 if shape.trained_rows is None else shape.model.parameters * _frozen_bytes(shape)
    return _sharded(shape.trained_parameters * _master_bytes(shape) + frozen, shape)


def _gathered(shape: StageShape) -> int:
    model = shape.model
    held = min(model.layers, LAYERS_IN_FLIGHT) if shape.compute.reshard_after_forward else model.layers
    arriving = model.layer_parameters if shape.shard_ranks > 1 else 0
    rows = 0 if shape.trained_rows is None else shape.trained_parameters
    whole = model.root_parameters + rows + held * model.layer_parameters + arriving
    return whole * shape.compute_bytes


def _gradients(shape: StageShape) -> int:
    model = shape.model
    shard = _sharded(shape.trained_parameters * _master_bytes(shape), shape)
    reduced = 4 if shape.compute.use_fp32_reduce else shape.compute_bytes
    if shape.trained_rows is not None:
        return shard + shape.trained_parameters * (shape.compute_bytes + reduced)
    layers = min(model.layers, LAYERS_IN_FLIGHT) * model.layer_parameters * (shape.compute_bytes + reduced)
    return shard + model.root_parameters * shape.compute_bytes + layers


def _logits(shape: StageShape) -> int:
    """fp32 logits, in whose place their gradient is made, and the head's fp32 gradient."""
    model, compute = shape.model, shape.compute
    chunk = min(shape.max_length, compute.minibatch_size, max(1, LOGITS_BYTES // (4 * model.rows)))
    if not compute.use_chunked_loss_computer:
        chunk = shape.max_length
    trained = model.rows if shape.trained_rows is None else shape.trained_rows
    return 4 * chunk * model.rows + 4 * trained * model.hidden
