"""Stage 1's model: new rows beside frozen tables, and no work or memory for what does not train."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3ForCausalLM

from onerec.config import Compute, ModelSource, Trainable
from onerec.errors import ConfigError
from onerec.model.build import build_model, read_config
from onerec.model.itemic_rows import SplitEmbedding, train_only_rows
from onerec.model.load import load_weights
from onerec.model.shard import _materialise_rest
from onerec.train.loss import PackedLanguageModel

TOKENS = 101
"""Of the pack that is trained on; no width of the tiny model, so that shapes tell what is what."""
PLAIN = {"enable_gradient_checkpointing": False}


def build(folder, *, first_row=None, compute=(), **trainable):
    """The tiny model on one process, unsharded, with its weights."""
    source = ModelSource(model_dir=str(folder / "expanded" / "model"))
    if first_row is not None:
        trainable = {"freeze_llm": True, "start_optimize_embedding_index": first_row}
    model = build_model(
        read_config(source),
        trainable=Trainable(**trainable),
        compute=Compute(**PLAIN, **dict(compute)),
        first_itemic_id=first_id(folder),
    )
    _materialise_rest(model, torch.device("cpu"))
    load_weights(model, folder / "expanded" / "model", allow_random=False, seed=0)
    return model


def first_id(folder):
    return json.loads((folder / "expanded" / "model" / "onerec_vocab.json").read_text())["first_id"]


def rows_of(folder):
    return read_config(ModelSource(model_dir=str(folder / "expanded" / "model"))).vocab_size


def step(model, *, vocab_size):
    """Forward and backward over one pack of two documents, every third token trained."""
    generator = torch.Generator().manual_seed(1)
    ids_T = torch.randint(0, vocab_size, (TOKENS,), generator=generator)
    trained_N = torch.arange(0, TOKENS - 1, 3)
    borders = torch.tensor([0, 45, TOKENS], dtype=torch.int32)
    result = PackedLanguageModel(model, minibatch_size=11)(
        ids_T,
        position_ids_T=torch.cat([torch.arange(45), torch.arange(TOKENS - 45)]),
        cu_seqlens=borders,
        max_seqlen=64,
        trained_N=trained_N,
        labels_N=ids_T[trained_N + 1],
        scale=1 / len(trained_N),
    )
    result.loss.backward()
    return result.loss.detach()


class Products(TorchDispatchMode):
    """Shapes of the results of all matrix products."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.addmm_}:
            self.shapes.add(tuple(made.shape))
        return made


@pytest.mark.parametrize("tied", [True, False])
def test_no_product_has_the_shape_of_a_frozen_weight_and_training_all_has_one_for_each(
    tiny_programme, tiny_untied, tied
):
    folder = tiny_programme if tied else tiny_untied
    vocab_size, first = rows_of(folder), 300  # 52 rows, a number that no width is
    made = {}
    for name, first_row in {"all": None, "rows": first}.items():
        model = build(folder, first_row=first_row)
        with Products() as products:
            step(model, vocab_size=vocab_size)
        made[name] = products.shapes
    whole = build(folder)
    matrices = {tuple(p.shape) for p in whole.model.layers.parameters() if p.ndim == 2}
    frozen = {(first, 32), (vocab_size, 32), *matrices}
    assert made["all"] >= {(vocab_size, 32), *matrices}
    assert not made["rows"] & (frozen | {shape[::-1] for shape in frozen})
    assert (vocab_size - first, 32) in made["rows"]


def test_a_frozen_layer_keeps_no_activation_that_only_weight_gradients_need(tiny_programme):
    kept, total = {}, {}
    for name, first_row in {"all": None, "rows": first_id(tiny_programme)}.items():
        model = build(tiny_programme, first_row=first_row)
        kept[name], total[name] = kept_by_a_layer(model)
    inputs = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert kept["all"] == inputs
    assert kept["rows"] <= {"o_proj"}  # attention may keep its own result
    assert total["rows"] < 0.8 * total["all"]


def kept_by_a_layer(model):
    """(projections whose input is kept for the backward pass, bytes that are kept besides parameters)."""
    layer, vocab_size = model.model.layers[0], model.config.vocab_size
    parameters = {parameter.data_ptr() for parameter in model.parameters()}
    inputs, saved = {}, {}

    def watch(name, module):
        def hook(_, given):
            inputs[name] = given[0]

        return module.register_forward_pre_hook(hook)

    for name, module in layer.named_modules():
        if isinstance(module, torch.nn.Linear):
            watch(name.rpartition(".")[2], module)

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in parameters:
            saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def enter(*_):
        hooks.__enter__()

    def leave(*_):
        hooks.__exit__()

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    layer.register_forward_pre_hook(enter)
    layer.register_forward_hook(leave)
    step(model, vocab_size=vocab_size)
    kept = {name for name, tensor in inputs.items() if tensor.untyped_storage().data_ptr() in saved}
    return kept, sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


@pytest.mark.parametrize("tied", [True, False])
def test_the_rows_get_the_gradient_that_they_have_in_the_whole_table(tiny_programme, tiny_untied, tied):
    folder = tiny_programme if tied else tiny_untied
    whole = build(folder)
    expected = step(whole, vocab_size=rows_of(folder))
    for first_row in (0, 1, rows_of(folder) // 2, first_id(folder), rows_of(folder) - 1):
        model = build(folder, first_row=first_row)
        assert torch.equal(step(model, vocab_size=rows_of(folder)), expected)
        tables = ["model.embed_tokens", *([] if tied else ["lm_head"])]
        trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        assert set(trained) == {f"{table}.itemic_rows" for table in tables}
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
        for table in tables:
            gradient_RD = whole.get_parameter(f"{table}.weight").grad[first_row:]
            torch.testing.assert_close(trained[f"{table}.itemic_rows"], gradient_RD, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("compute", "frozen", "rows"),
    [
        ({}, torch.float32, torch.float32),
        ({"compute_dtype": "bf16"}, torch.bfloat16, torch.float32),
        ({"compute_dtype": "bf16", "use_fp32_weight": False}, torch.bfloat16, torch.bfloat16),
    ],
)
def test_frozen_parameters_are_kept_as_they_are_computed_with(tiny_programme, compute, frozen, rows):
    model = build(tiny_programme, first_row=first_id(tiny_programme), compute=compute.items())
    stored = load_file(tiny_programme / "expanded" / "model" / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert parameter.dtype is (rows if parameter.requires_grad else frozen), name
        if not parameter.requires_grad:
            assert torch.equal(parameter, stored[name].to(frozen)), name


def test_frozen_rows_of_embedding_and_head_are_one_memory(tiny_programme):
    """And the loss reads them as they lie: a slice, not a copy."""
    model = build(tiny_programme, first_row=first_id(tiny_programme))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.lm_head.itemic_rows is model.model.embed_tokens.itemic_rows
    frozen_FD = model.lm_head.weight[: model.lm_head.first_row]
    assert frozen_FD.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert frozen_FD.is_contiguous()


@pytest.mark.parametrize("first_row", [0, 3, 9])
def test_an_embedding_of_two_parts_looks_up_what_one_table_has(first_row):
    table_VD = torch.arange(20.0).view(10, 2)
    split = SplitEmbedding(
        torch.nn.Parameter(table_VD.clone(), requires_grad=False), torch.nn.Parameter(-table_VD[first_row:])
    )
    ids_T = torch.tensor([[0, 9, 2, 3, 9, 8]])
    expected = torch.cat([table_VD[:first_row], -table_VD[first_row:]])[ids_T]
    assert torch.equal(split(ids_T), expected)


@pytest.mark.parametrize("first_row", [-1, 352, 100_000])
def test_a_first_row_outside_the_table_is_refused(tiny_programme, first_row):
    assert rows_of(tiny_programme) == 352
    with torch.device("meta"):
        model = Qwen3ForCausalLM(read_config(ModelSource(model_dir=str(tiny_programme / "expanded/model"))))
    with pytest.raises(ValueError, match=rf"start_optimize_embedding_index {first_row} is outside the table"):
        train_only_rows(model, first_row=first_row, frozen_dtype=torch.float32)


def test_the_refusal_is_a_config_error(tiny_programme):
    with pytest.raises(ConfigError, match="352 is outside the table of 352 rows"):
        build(tiny_programme, first_row=352)
