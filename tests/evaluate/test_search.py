import copy
import itertools

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.errors import DataError
from onerec.evaluate.search import batches, say_greedily, search_freely, search_items
from onerec.items.trie import Trie
from onerec.vocab import ItemicVocab

VOCAB = ItemicVocab(layer_n=3, size_per_layer=8, first_id=40)
WIDTH = 12


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(5)
    config = Qwen3Config(
        vocab_size=VOCAB.aligned_size(8),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return Qwen3ForCausalLM(config).eval()


def codes(count, seed=0):
    every = np.array(list(itertools.product(range(8), repeat=3)), dtype=np.int32)
    return np.random.default_rng(seed).permutation(every)[:count]


def prompts(count, seed=0):
    drawn = np.random.default_rng(seed)
    return [
        [*drawn.integers(2, 40, size=drawn.integers(3, 30)).tolist(), VOCAB.begin_id] for _ in range(count)
    ]


def scores_of_all_items(lm, prompt, codes_NL):
    """Each item's score, by one plain forward pass over prompt and codes."""
    ids = [
        [*prompt, *(VOCAB.id_of(level, code) for level, code in enumerate(row))] for row in codes_NL.tolist()
    ]
    lm.set_attn_implementation("sdpa")
    with torch.no_grad():
        log_probs = lm(torch.tensor(ids)).logits.log_softmax(-1)
    return [
        sum(float(log_probs[i, len(prompt) - 1 + level, row[len(prompt) + level]]) for level in range(3))
        for i, row in enumerate(ids)
    ]


def by_generate(lm, prompt, codes_NL, *, width):
    """transformers' own constrained beam search: (codes, score) of each beam, best first."""
    known = {(): set()}
    for row in codes_NL.tolist():
        tokens = [VOCAB.id_of(level, code) for level, code in enumerate(row)]
        for length in range(3):
            known.setdefault(tuple(tokens[:length]), set()).add(tokens[length])
    lm.set_attn_implementation("sdpa")
    out = lm.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        prefix_allowed_tokens_fn=lambda _, ids: sorted(known[tuple(ids[len(prompt) :].tolist())]),
        num_beams=width,
        num_return_sequences=width,
        max_new_tokens=3,
        length_penalty=0.0,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    said = out.sequences[:, len(prompt) :].tolist()
    return [
        (tuple(token - VOCAB.id_of(level, 0) for level, token in enumerate(row)), float(score))
        for row, score in zip(said, out.sequences_scores, strict=True)
    ]


@pytest.mark.parametrize("width", [4, WIDTH, 32])
def test_items_order_and_scores_are_those_of_generate(lm, width):
    codes_NL, questions = codes(100), prompts(6)
    answers = search_items(lm, questions, trie=Trie.of(codes_NL), vocab=VOCAB, width=width)
    for question, answer in zip(questions, answers, strict=True):
        expected = by_generate(lm, question, codes_NL, width=width)
        assert [tuple(codes_NL[item].tolist()) for item in answer.items] == [said for said, _ in expected]
        assert answer.scores == pytest.approx([score for _, score in expected], abs=1e-4)


def test_a_search_as_wide_as_the_catalogue_orders_it_as_scoring_every_item_does(lm):
    codes_NL, [question] = codes(60), prompts(1)
    [answer] = search_items(lm, [question], trie=Trie.of(codes_NL), vocab=VOCAB, width=60)
    scores = scores_of_all_items(lm, question, codes_NL)
    assert answer.items == sorted(range(60), key=lambda item: -scores[item])
    assert answer.scores == pytest.approx(sorted(scores, reverse=True), abs=1e-4)


def test_a_batch_gives_what_each_user_alone_gets(lm):
    codes_NL, questions = codes(100), prompts(9, seed=4)
    trie, excluded = Trie.of(codes_NL), [[i, i + 1, 50] for i in range(9)]
    options = {"trie": trie, "vocab": VOCAB, "width": WIDTH}
    together = search_items(lm, questions, excluded=excluded, **options)
    for question, left_out, answer in zip(questions, excluded, together, strict=True):
        [alone] = search_items(lm, [question], excluded=[left_out], **options)
        assert alone.items == answer.items
        assert alone.scores == pytest.approx(answer.scores, abs=1e-4)
        assert not set(answer.items) & set(left_out)


def test_lists_are_full_when_nearly_everything_is_excluded(lm):
    codes_NL, [question] = codes(60), prompts(1)
    [answer] = search_items(
        lm, [question], trie=Trie.of(codes_NL), vocab=VOCAB, width=WIDTH, excluded=[list(range(45))]
    )
    scores = scores_of_all_items(lm, question, codes_NL)
    assert len(answer.items) == WIDTH
    [everything] = search_items(
        lm, [question], trie=Trie.of(codes_NL), vocab=VOCAB, width=60, excluded=[list(range(45))]
    )
    assert everything.items == sorted(range(45, 60), key=lambda item: -scores[item])


def test_a_free_search_is_generate_without_a_constraint(lm):
    questions = prompts(5, seed=2)
    answers = search_freely(lm, questions, width=6, num_tokens=4)
    lm.set_attn_implementation("sdpa")
    for question, answer in zip(questions, answers, strict=True):
        out = lm.generate(
            torch.tensor([question]),
            attention_mask=torch.ones(1, len(question), dtype=torch.int64),
            num_beams=6,
            num_return_sequences=6,
            max_new_tokens=4,
            length_penalty=0.0,
            do_sample=False,
            eos_token_id=-1,  # or an answer that ends early would take a beam of its own
        )
        assert answer == [tuple(row) for row in out[:, len(question) :].tolist()]


@pytest.mark.parametrize("ends", [[1], [1, *range(10, 30)]])
def test_greedy_answers_are_those_of_generate_cut_before_their_end(lm, ends):
    questions = prompts(7, seed=6)
    answers = say_greedily(lm, questions, max_tokens=9, ends=ends)
    lm.set_attn_implementation("sdpa")
    for question, answer in zip(questions, answers, strict=True):
        [out] = lm.generate(
            torch.tensor([question]),
            attention_mask=torch.ones(1, len(question), dtype=torch.int64),
            max_new_tokens=9,
            do_sample=False,
            eos_token_id=ends,
        ).tolist()
        said = out[len(question) :]
        assert answer == (said[:-1] if said[-1] in ends else said)
    assert len({len(answer) for answer in answers}) > 1, "some end early, others do not"


def test_a_model_that_answers_no_number_is_told_and_no_miss(lm):
    broken = copy.deepcopy(lm)
    with torch.no_grad():
        broken.lm_head.weight[VOCAB.id_of(1, 3)] = torch.nan
    with pytest.raises(DataError, match="numbers that are none"):
        search_items(broken, prompts(2), trie=Trie.of(codes(100)), vocab=VOCAB, width=WIDTH)


def test_batches_hold_every_prompt_once_with_its_likes():
    assert list(batches([3, 9, 5, 9, 1], size=2)) == [[1, 3], [2, 0], [4]]
    assert list(batches([], size=2)) == []
