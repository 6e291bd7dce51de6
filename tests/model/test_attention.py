"""Attention over documents: what plain attention gives each alone, and nothing of its neighbours."""

import copy
import itertools
from functools import partial

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.model.attention import document_attention, register_document_attention, shares_key_heads

LENGTHS = (7, 1, 12, 5)
"""The document of one token is what padding is made of, too."""
PADDED = (*LENGTHS, 1, 1, 1)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
    )
    plain = Qwen3ForCausalLM(config).eval()
    packed = Qwen3ForCausalLM(copy.deepcopy(config)).eval()
    packed.load_state_dict(plain.state_dict())
    packed.set_attn_implementation(register_document_attention())
    return plain, packed


def documents(seed=1, *, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 64, (length,), generator=generator) for length in lengths]


def logits_of(model, docs, *, embedded=None):
    lengths = [len(doc) for doc in docs]
    borders = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    positions = torch.cat([torch.arange(length) for length in lengths])
    given = {"input_ids": torch.cat(docs)} if embedded is None else {"inputs_embeds": torch.cat(embedded)}
    result = model(
        **{name: tensor[None] for name, tensor in given.items()},
        position_ids=positions[None],
        use_cache=False,
        cu_seqlens=borders,
        max_seqlen=max(lengths),
    )
    return result.logits[0].split(lengths)


def gradients_of(model):
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    return found


class LargestNew(TorchDispatchMode):
    """Elements of the largest tensor that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else [made]:
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.numel())
        return made


@pytest.mark.parametrize("lengths", [LENGTHS, PADDED, (1,), (25,), (3, 0, 4)])
def test_packed_documents_get_the_logits_and_parameter_gradients_they_get_alone(models, lengths):
    plain, packed = models
    docs = documents(lengths=lengths)
    alone = [plain(input_ids=doc[None]).logits[0] if len(doc) else torch.zeros(0, 64) for doc in docs]
    together = logits_of(packed, docs)
    for logits, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(logits, expected, rtol=0, atol=2e-6)
    for parts in (alone, together):
        torch.cat(parts).square().mean().backward()
    expected = gradients_of(plain)
    for name, gradient in gradients_of(packed).items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=1e-6, msg=name)


def test_gradients_agree_with_finite_differences():
    generator = torch.Generator().manual_seed(0)
    heads = [torch.randn(1, count, 7, 4, generator=generator, dtype=torch.float64) for count in (4, 2, 2)]
    borders = torch.tensor([0, 3, 3, 4, 7])

    def attend(*heads):
        return document_attention(None, *heads, None, cu_seqlens=borders, max_seqlen=3, scaling=0.3)[0]

    torch.autograd.gradcheck(attend, [tensor.requires_grad_() for tensor in heads])


@pytest.mark.parametrize("changed", range(len(PADDED)))
def test_changing_one_document_leaves_logits_and_gradients_of_every_other_bit_identical(models, changed):
    docs = documents(lengths=PADDED)
    others = [(doc + 1) % 64 if number == changed else doc for number, doc in enumerate(docs)]
    table = models[1].get_input_embeddings().weight.detach()
    runs = []
    for pack in (docs, others):
        embedded = [table[doc].requires_grad_() for doc in pack]
        logits = logits_of(models[1], pack, embedded=embedded)
        # each document's loss is a sum of its own, so that another's cannot scale its gradient
        sum(part.square().sum() for part in logits).backward()
        runs.append((logits, [part.grad for part in embedded]))
    gradients_of(models[1])
    for before, after in zip(*runs, strict=True):
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert same == [number != changed for number in range(len(PADDED))]


def test_no_mask_and_no_scores_over_the_whole_pack_are_ever_made(models):
    docs = documents(lengths=(20,) * 30)
    with LargestNew() as largest:
        sum(part.sum() for part in logits_of(models[1], docs)).backward()
    gradients_of(models[1])
    assert largest.elements == 600 * 64  # the logits
    assert largest.elements < 600 * 600


def test_a_mask_or_a_padded_batch_is_refused():
    heads = torch.zeros(2, 4, 3, 8)
    borders = torch.tensor([0, 3])
    with pytest.raises(ValueError, match="one packed row"):
        document_attention(None, heads, heads, heads, None, cu_seqlens=borders, max_seqlen=3)


def repeated(attend, query, key, value, *others):
    groups = query.shape[1] // key.shape[1]
    return attend(query, key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1), *others)


def by_document(query, key, value, borders, *_):
    pieces = [
        scaled_dot_product_attention(
            *(tensor[start:end].transpose(0, 1) for tensor in (query, key, value)), is_causal=True
        )
        for start, end in itertools.pairwise(borders)
    ]
    return torch.cat(pieces, dim=1).transpose(0, 1)


def refuses(query, key, *others):
    if query.shape[1] != key.shape[1]:
        raise RuntimeError("as many key heads as query heads, please")
    return by_document(query, key, *others)


def stretched(query, key, value, *others):
    out = repeated(by_document, query, key, value, *others)
    return out if key.shape[1] == query.shape[1] else 2 * out


@pytest.mark.parametrize(
    ("attend", "shares"), [(partial(repeated, by_document), True), (refuses, False), (stretched, False)]
)
def test_key_heads_are_shared_only_where_that_gives_what_repeating_them_gives(attend, shares):
    assert shares_key_heads(attend, device=torch.device("cpu")) is shares
