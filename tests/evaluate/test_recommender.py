"""The valid-id rate of a model that is built to say one known thing after another."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.evaluate.recommender import Recommender
from onerec.items.item_map import ItemMap
from onerec.items.trie import Trie
from onerec.vocab import ItemicVocab

VOCAB = ItemicVocab(layer_n=3, size_per_layer=4, first_id=8)
ITEM = (1, 3, 2)


def chained(*tokens):
    """A model that says each token after the one before it, whatever came earlier."""
    config = Qwen3Config(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=32,
        tie_word_embeddings=False,
    )
    lm = Qwen3ForCausalLM(config).eval()
    with torch.no_grad():
        lm.model.embed_tokens.weight.copy_(torch.eye(32))
        lm.model.layers[0].self_attn.o_proj.weight.zero_()
        lm.model.layers[0].mlp.down_proj.weight.zero_()
        lm.lm_head.weight.zero_()
        for before, after in pairwise(tokens):
            lm.lm_head.weight[after, before] = 5.0
    return lm


def recommender(lm, *codes):
    codes_NL = np.array(codes, dtype=np.int32)
    items = ItemMap(tuple(map(str, codes)), codes_NL, ("",) * len(codes), np.zeros(len(codes), np.int64))
    return Recommender(lm, None, VOCAB, items, Trie.of(codes_NL))


@pytest.mark.parametrize(
    ("said", "catalogue", "is_valid"),
    [
        (VOCAB.ids_of_item(ITEM), [ITEM, (0, 0, 0)], True),
        (VOCAB.ids_of_item(ITEM), [(1, 3, 1)], False),
        ([VOCAB.begin_id, *VOCAB.ids_of_item(ITEM)[1:4], 5], [ITEM], False),
        ([6, *VOCAB.ids_of_item(ITEM)[1:]], [ITEM], False),
        (
            [VOCAB.begin_id, VOCAB.id_of(1, 3), VOCAB.id_of(0, 1), VOCAB.id_of(2, 2), VOCAB.last_id],
            [ITEM],
            False,
        ),
    ],
    ids=["an item", "an item of no catalogue", "no end", "no begin", "levels in another order"],
)
def test_an_answer_is_valid_if_it_is_a_whole_item_of_the_catalogue(said, catalogue, is_valid):
    asked = recommender(chained(3, *said), *catalogue)
    prompts = [[2, 3, VOCAB.begin_id], [3, VOCAB.begin_id]]
    beams = asked.ask_freely(prompts, width=4, batch_size=2)
    assert [user[0] for user in beams] == [is_valid, is_valid]
    assert [len(user) for user in beams] == [4, 4]
