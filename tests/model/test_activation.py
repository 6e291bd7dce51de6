"""Activation checkpointing: the same numbers bit by bit, fewer bytes kept, and nobody's name changed."""

import pytest
import torch

from onerec.config import Compute
from onerec.config.memory import MODES, ModelSizes, StageShape, layer_bytes_per_token
from onerec.model.activation import ATTENTION, PRODUCTS, keeps
from tests.model.live_memory import LiveMemory
from tests.model.packed_qwen3 import CONFIG, ROWS, build, forward_backward, loss_of, pack

LENGTHS = (130, 7, 63)
TOKENS = sum(LENGTHS)


def model_of(mode, **settings):
    return build(activation_checkpointing=mode, **settings)


def kept_bytes(model):
    """Alive between the forward and the backward pass."""
    memory = LiveMemory(model)
    with memory:
        loss = loss_of(model, pack(*LENGTHS))
        kept = memory.live
    loss.backward()
    return kept


def layer_bytes(mode, *, dtype, frozen):
    """Kept by each further layer, per token: what the ends of the model keep falls out."""
    few, many = (kept_bytes(model_of(mode, dtype=dtype, frozen=frozen, layers=layers)) for layers in (1, 3))
    return (many - few) / 2 / TOKENS


@pytest.mark.parametrize("mode", ["selective", "full"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradients_are_those_of_a_model_that_keeps_everything(mode, frozen, dtype):
    kept, recomputed = (
        forward_backward(model_of(each, dtype=dtype, frozen=frozen), pack(*LENGTHS))
        for each in ("none", mode)
    )
    assert recomputed.loss == kept.loss
    assert recomputed.gradients.keys() == kept.gradients.keys() != set()
    different = [
        name for name, value in kept.gradients.items() if not torch.equal(value, recomputed.gradients[name])
    ]
    assert different == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "fp32"), (torch.bfloat16, "bf16")])
def test_the_estimate_is_what_a_layer_keeps(mode, frozen, dtype, name):
    shape = StageShape(
        model=ModelSizes(
            hidden=CONFIG["hidden_size"],
            layers=3,
            heads=CONFIG["num_attention_heads"],
            kv_heads=CONFIG["num_key_value_heads"],
            head_dim=CONFIG["head_dim"],
            intermediate=CONFIG["intermediate_size"],
            rows=ROWS,
            tied=True,
        ),
        compute=Compute(compute_dtype=name),
        max_length=TOKENS,
        shard_ranks=1,
        on_gpu=False,
        trained_rows=ROWS // 2 if frozen else None,
    )
    measured = layer_bytes(mode, dtype=dtype, frozen=frozen)
    assert layer_bytes_per_token(shape, mode) == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("frozen", [False, True])
def test_each_mode_keeps_much_less_than_the_one_before(frozen):
    none, selective, full = (layer_bytes(mode, dtype=torch.bfloat16, frozen=frozen) for mode in MODES)
    assert selective < 0.65 * none
    assert full < 0.15 * selective


@pytest.mark.parametrize("mode", MODES)
def test_parameters_keep_their_names(mode):
    names = {name for name, _ in model_of(mode).lm.named_parameters()}
    assert "model.layers.2.self_attn.q_proj.weight" in names
    assert names == {name for name, _ in model_of("none").lm.named_parameters()}


def test_switched_off_wins_over_the_finer_key():
    model = build(enable_gradient_checkpointing=False, activation_checkpointing="full")
    assert all("forward" not in vars(layer) for layer in model.lm.model.layers)


def test_an_undecided_model_recomputes_whole_layers():
    assert kept_bytes(model_of("auto")) == kept_bytes(model_of("full"))


def test_of_a_layer_the_products_but_the_last_and_attention_are_kept():
    narrow, wide = torch.empty(2, 8), torch.empty(2, 24)
    product, addition = torch.ops.aten.mm.default, torch.ops.aten.addmm.default
    asked = [
        (product, (narrow, torch.empty(8, 24))),
        (product, (wide, torch.empty(24, 8))),
        (addition, (torch.empty(24), narrow, torch.empty(8, 24))),
        (addition, (torch.empty(8), wide, torch.empty(24, 8))),
        (torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default, (narrow, narrow, narrow)),
        (torch.ops.aten.bmm.default, (narrow[None], narrow[None])),
        (torch.ops.aten.silu.default, (wide,)),
    ]
    assert [keeps(24, None, operator, *operands).name for operator, operands in asked] == [
        "MUST_SAVE",
        "PREFER_RECOMPUTE",
        "MUST_SAVE",
        "PREFER_RECOMPUTE",
        "MUST_SAVE",
        "PREFER_RECOMPUTE",
        "PREFER_RECOMPUTE",
    ]


def test_the_operators_are_those_of_this_torch():
    """A renamed operator would not fail: it would be computed again without a word."""
    import torch.nn.attention.varlen  # defines the operator

    named = {*PRODUCTS, *ATTENTION}
    known = {name for name in named if hasattr(getattr(torch.ops, name.split("::")[0]), name.split("::")[1])}
    assert named - known == set()
