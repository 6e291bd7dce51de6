"""The search among valid items as the device has it, against one plain forward pass for every item."""

import itertools

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.evaluate.search import search_freely, search_items
from onerec.items.trie import Trie
from onerec.vocab import ItemicVocab

VOCAB = ItemicVocab(layer_n=3, size_per_layer=8, first_id=40)
ITEMS = 60
ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 2e-2}
"""Of a sum of three log-probabilities; the plain pass adds in another order."""


def model(device, dtype):
    torch.manual_seed(5)
    config = Qwen3Config(
        vocab_size=VOCAB.aligned_size(8),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        initializer_range=0.1,
    )
    return Qwen3ForCausalLM(config).to(device, dtype).eval()


def scores_of_all_items(lm, prompt, codes_NL):
    tokens = [[VOCAB.id_of(level, code) for level, code in enumerate(row)] for row in codes_NL.tolist()]
    lm.set_attn_implementation("sdpa")
    with torch.no_grad():
        ids = torch.tensor([[*prompt, *row] for row in tokens], device=lm.device)
        log_probs = lm(ids).logits.float().log_softmax(-1).cpu()
    first = len(prompt) - 1
    return [
        sum(float(log_probs[item, first + level, token]) for level, token in enumerate(row))
        for item, row in enumerate(tokens)
    ]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_items_have_the_scores_of_a_plain_pass(device, dtype):
    lm = model(device, dtype)
    every = np.array(list(itertools.product(range(8), repeat=3)), dtype=np.int32)
    codes_NL = np.random.default_rng(0).permutation(every)[:ITEMS]
    drawn = np.random.default_rng(1)
    prompts = [[*drawn.integers(2, 40, size=length).tolist(), VOCAB.begin_id] for length in (3, 70, 31)]
    excluded = [[1, 2, 3], [], list(range(40))]
    trie = Trie.of(codes_NL, device=device)
    answers = search_items(lm, prompts, trie=trie, vocab=VOCAB, width=ITEMS, excluded=excluded)
    for prompt, left_out, answer in zip(prompts, excluded, answers, strict=True):
        scores = scores_of_all_items(lm, prompt, codes_NL)
        assert sorted(answer.items) == sorted(set(range(ITEMS)) - set(left_out))
        assert answer.scores == sorted(answer.scores, reverse=True)
        assert answer.scores == pytest.approx([scores[item] for item in answer.items], abs=ROUNDING[dtype])
    free = search_freely(lm, prompts, width=5, num_tokens=5)
    assert [[len(said) for said in user] for user in free] == [[5] * 5] * 3
