"""The memory estimate: what it says of the models people train, and how it answers to every setting."""

from dataclasses import replace

import pytest

from onerec.config import Compute
from onerec.config.memory import (
    LOGITS_BYTES,
    MODES,
    MemoryEstimate,
    ModelSizes,
    StageShape,
    choose_checkpointing,
    configured_checkpointing,
    estimate,
    estimate_stage,
)

ROWS, ITEMIC = 176_384, 24_715
GB = 10**9
H100, H200 = 80 * GB, 141 * GB


def qwen3(hidden, heads, intermediate, layers, *, tied=True):
    return ModelSizes(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        intermediate=intermediate,
        rows=ROWS,
        tied=tied,
    )


MODELS = {
    "0.6B": qwen3(1024, 16, 3072, 28),
    "1.7B": qwen3(2048, 16, 6144, 28),
    "4B": qwen3(2560, 32, 9728, 36),
    "8B": qwen3(4096, 32, 12288, 36, tied=False),
}


def stage(name, *, ranks=1, trained_rows=None, on_gpu=True, **compute):
    return StageShape(
        model=MODELS[name],
        compute=Compute(**compute),
        max_length=32768,
        shard_ranks=ranks,
        on_gpu=on_gpu,
        trained_rows=trained_rows,
    )


@pytest.mark.parametrize(
    ("name", "ranks", "on_h100", "on_h200"),
    [
        ("0.6B", 1, "none", "none"),
        ("0.6B", 8, "none", "none"),
        ("0.6B", 16, "none", "none"),
        ("1.7B", 1, "full", "none"),
        ("1.7B", 8, "selective", "none"),
        ("1.7B", 16, "selective", "none"),
        ("4B", 1, "full", "full"),
        ("4B", 8, "full", "selective"),
        ("4B", 16, "full", "selective"),
        ("8B", 1, "full", "full"),
        ("8B", 8, "full", "full"),
        ("8B", 16, "full", "full"),
    ],
)
def test_what_32k_packs_need_to_recompute(name, ranks, on_h100, on_h200):
    shape = stage(name, ranks=ranks)
    assert [choose_checkpointing(shape, free) for free in (H100, H200)] == [on_h100, on_h200]


def test_4b_at_32k_fits_on_one_h200_and_8b_does_not():
    assert estimate(stage("4B"), "full").total < 100 * GB
    assert estimate(stage("8B"), "full").total > 141 * GB


def test_stage_1_keeps_moments_and_gradients_of_the_trained_rows_only():
    whole, rows = (estimate(stage("8B", trained_rows=trained), "full") for trained in (None, ITEMIC))
    assert rows.optimizer == 2 * 4 * 2 * ITEMIC * 4096
    assert rows.gradients < 0.1 * whole.gradients
    assert rows.weights == pytest.approx(whole.weights / 2, rel=0.05)


def test_parameters_are_those_of_the_published_models_with_the_itemic_rows():
    counts = {name: round(sizes.parameters / 1e6) for name, sizes in MODELS.items()}
    assert counts == {"0.6B": 621, "1.7B": 1771, "4B": 4085, "8B": 8391}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("trained_rows", [None, ITEMIC])
@pytest.mark.parametrize("compiled", ["on", "off"])
def test_more_recomputation_never_needs_more_memory(name, trained_rows, compiled):
    shape = stage(name, trained_rows=trained_rows, compile=compiled)
    none, selective, full = (estimate(shape, mode).total for mode in MODES)
    assert none > selective > full


def test_compiled_layers_keep_less_where_nothing_is_checkpointed():
    eager, compiled = (estimate(stage("1.7B", compile=value), "none") for value in ("off", "on"))
    assert 0.5 * eager.activations < compiled.activations < 0.75 * eager.activations


def test_ranks_share_weights_moments_and_gradients_but_neither_activations_nor_logits():
    one, eight = (estimate(stage("4B", ranks=ranks), "full") for ranks in (1, 8))
    assert (one.weights, one.optimizer) == (8 * eight.weights, 8 * eight.optimizer)
    assert one.gradients - eight.gradients == one.weights - eight.weights
    assert (one.activations, one.logits) == (eight.activations, eight.logits)


@pytest.mark.parametrize(
    ("changes", "part", "sign"),
    [
        ({"use_fp32_weight": False}, "weights", -1),
        ({"use_fp32_weight": False}, "optimizer", -1),
        ({"use_fp32_reduce": False}, "gradients", -1),
        ({"reshard_after_forward": False}, "gathered", 1),
        ({"compute_dtype": "fp32"}, "activations", 1),
        ({"use_chunked_loss_computer": False}, "logits", 1),
        ({"minibatch_size": 64}, "logits", -1),
    ],
)
def test_every_setting_that_changes_memory_changes_its_part(changes, part, sign):
    before, after = (estimate(stage("1.7B", **settings), "full").parts[part] for settings in ({}, changes))
    assert (after - before) * sign > 0


def test_the_chunk_of_logits_is_bounded_by_bytes_whatever_minibatch_size_says():
    shape = stage("1.7B", minibatch_size=32768)
    head_gradient = 4 * ROWS * 2048
    assert estimate(shape, "full").logits - head_gradient <= LOGITS_BYTES


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, None),
        ({"enable_gradient_checkpointing": False}, "none"),
        ({"enable_gradient_checkpointing": False, "activation_checkpointing": "full"}, "none"),
        ({"activation_checkpointing": "selective"}, "selective"),
        ({"activation_checkpointing": "none"}, "none"),
    ],
)
def test_what_the_manifest_fixes_is_not_chosen(settings, mode):
    compute = Compute(**settings)
    assert configured_checkpointing(compute) == mode
    if mode is not None:
        shape = replace(stage("8B"), compute=compute)
        assert estimate_stage(shape, 1).checkpointing == mode


def test_with_unknown_memory_the_estimate_is_that_of_full_recomputation():
    assert estimate_stage(stage("0.6B"), None).checkpointing == "full"


def test_parts_add_up_in_json():
    found = estimate(stage("1.7B"), "selective")
    document = found.to_json()
    assert document == {
        "checkpointing": "selective",
        "total": sum(found.parts.values()),
        "parts": found.parts,
    }
    assert set(found.parts) == set(MemoryEstimate.__dataclass_fields__) - {"checkpointing"}
