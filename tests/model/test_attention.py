"""Attention over documents: what plain attention gives each alone, and nothing of its neighbours."""

import copy

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.model.attention import document_attention, register_document_attention

LENGTHS = (7, 1, 12, 5)


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


def documents(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 64, (length,), generator=generator) for length in LENGTHS]


def logits_of(model, docs):
    lengths = [len(doc) for doc in docs]
    borders = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    positions = torch.cat([torch.arange(length) for length in lengths])
    result = model(
        input_ids=torch.cat(docs)[None],
        position_ids=positions[None],
        use_cache=False,
        cu_seqlens=borders,
        max_seqlen=max(lengths),
    )
    return result.logits[0].split(lengths)


def test_packed_documents_get_the_logits_they_get_alone(models):
    plain, packed = models
    for doc, logits in zip(documents(), logits_of(packed, documents()), strict=True):
        torch.testing.assert_close(logits, plain(input_ids=doc[None]).logits[0], rtol=0, atol=2e-6)


def test_changing_one_document_leaves_every_other_bit_identical(models):
    docs = documents()
    changed = [*docs[:2], (docs[2] + 1) % 64, docs[3]]
    before, after = logits_of(models[1], docs), logits_of(models[1], changed)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False, True]


def test_a_mask_or_a_padded_batch_is_refused():
    heads = torch.zeros(2, 4, 3, 8)
    borders = torch.tensor([0, 3])
    with pytest.raises(ValueError, match="one packed row"):
        document_attention(None, heads, heads, heads, None, cu_seqlens=borders, max_seqlen=3)
