"""AdamW's groups go by the type of the module, leave nothing out, and are told as a table."""

import pytest
import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.config import Compute, Optim, Trainable
from onerec.model.build import build_model
from onerec.train.optimizer import (
    MOMENTS,
    TrainedGroup,
    _check_complete,
    build_optimizer,
    describe_groups,
    optimizer_tensors,
    trained_groups,
)

SIZES = {
    "vocab_size": 40,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
}
OPTIM = Optim(learning_rate=0.1, weight_decay=0.25)


def model_of(*, tied=True, **trainable):
    """A tiny Qwen3 as shapes only."""
    return build_model(
        Qwen3Config(**SIZES, tie_word_embeddings=tied),
        trainable=Trainable(**trainable),
        compute=Compute(),
        first_itemic_id=30,
    )


def real_model():
    """A tiny Qwen3 with random weights."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**SIZES, tie_word_embeddings=True))


TIED = """\
trained in    tensors  parameters  weight decay
Embedding           1         320             0
Linear             14       1,152          0.25
Qwen3RMSNorm        9          56             0"""
UNTIED = """\
trained in     tensors  parameters  weight decay
Embedding            1         320             0
Linear              14       1,152          0.25
Qwen3RMSNorm         9          56             0
Linear (head)        1         320             0"""
ROWS = """\
trained in      tensors  parameters  weight decay
SplitEmbedding        1          80             0
frozen               24       1,528"""
ROWS_UNTIED = """\
trained in        tensors  parameters  weight decay
SplitEmbedding          1          80             0
SplitHead (head)        1          80             0
frozen                 25       1,848"""


@pytest.mark.parametrize(
    ("changes", "table"),
    [
        ({"tied": True}, TIED),
        ({"tied": False}, UNTIED),
        ({"tied": True, "freeze_llm": True}, ROWS),
        ({"tied": False, "freeze_llm": True}, ROWS_UNTIED),
    ],
    ids=["tied", "untied", "stage 1", "stage 1 untied"],
)
def test_groups_are_told_by_type_of_module(changes, table):
    assert describe_groups(model_of(**changes), OPTIM) == table


class Odd(nn.Module):
    """Parameters where nobody expects them, and names that mean nothing."""

    def __init__(self):
        super().__init__()
        self.norm = nn.Linear(3, 4)
        self.weight = nn.Embedding(5, 3)
        self.lm_head = nn.LayerNorm(3)
        self.linear = nn.Parameter(torch.ones(3, 3))
        self.output = nn.Linear(3, 5)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)

    def get_output_embeddings(self):
        return self.output


def test_types_decide_and_not_names():
    groups = trained_groups(Odd())
    assert {(group.module_type, group.decays): sorted(group.parameters) for group in groups} == {
        ("Odd", False): ["linear"],
        ("Linear", True): ["norm.weight"],
        ("Linear", False): ["norm.bias"],
        ("Embedding", False): ["weight.weight"],
        ("LayerNorm", False): ["lm_head.bias", "lm_head.weight"],
        ("Linear (head)", False): ["output.bias", "output.weight"],
    }


def test_only_matrices_of_linear_layers_are_decayed_by_the_optimizer():
    model = real_model()
    optimizer = build_optimizer(model, optim=OPTIM)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert {name for name, p in model.named_parameters() if id(p) in decayed} == {
        f"model.layers.{layer}.{part}.weight"
        for layer in range(2)
        for part in (
            *(f"self_attn.{one}_proj" for one in "qkvo"),
            *(f"mlp.{one}_proj" for one in ("gate", "up", "down")),
        )
    }
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.25, 0.0]


def test_a_parameter_that_no_group_has_is_noticed():
    model = real_model()
    groups = trained_groups(model)
    _check_complete(model, groups)
    first, *rest = groups
    name = next(iter(first.parameters))
    short = TrainedGroup(
        first.module_type, first.decays, {k: v for k, v in first.parameters.items() if k != name}
    )
    with pytest.raises(AssertionError, match=name):
        _check_complete(model, [short, *rest])
    with pytest.raises(AssertionError, match="no group or several"):
        _check_complete(model, [*groups, first])


@pytest.mark.parametrize("tied", [True, False])
def test_frozen_parameters_have_no_state(tied):
    model = model_of(tied=tied, freeze_llm=True)
    optimizer = build_optimizer(model, optim=OPTIM)
    names = {"model.embed_tokens.itemic_rows", *([] if tied else ["lm_head.itemic_rows"])}
    assert set(optimizer_tensors(model, optimizer)) == {f"{name}.{one}" for name in names for one in MOMENTS}
    assert len(optimizer.state) == len(names)
    for state in optimizer.state.values():
        assert [tuple(state[moment].shape) for moment in MOMENTS] == [(10, 8)] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moments_have_the_numbers_of_their_parameters(dtype):
    model = real_model().to(dtype)
    state = optimizer_tensors(model, build_optimizer(model, optim=OPTIM))
    assert {tensor.dtype for tensor in state.values()} == {dtype}


def test_found_inf_leaves_weights_moments_and_counts_and_its_absence_does_not():
    model = real_model()
    optimizer = build_optimizer(model, optim=OPTIM)
    for bad, changes in ((0.0, True), (1.0, False), (0.0, True)):
        before = snapshot(model, optimizer)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float("nan") if bad else 0.5)
        optimizer.found_inf = torch.tensor(bad)
        optimizer.step()
        after = snapshot(model, optimizer)
        assert {name for name in before if not torch.equal(before[name], after[name])} == (
            set(before) if changes else set()
        )


def snapshot(model, optimizer):
    named = dict(model.named_parameters())
    states = {
        f"{name}.{key}": tensor for name, p in named.items() for key, tensor in optimizer.state[p].items()
    }
    return {name: tensor.detach().clone() for name, tensor in (named | states).items()}
