"""C20: beam search among valid items, against transformers' `generate` with prefix_allowed_tokens_fn.

10,000 items of 3 codes below 256, 32 beams, prompts of 100 to 200 tokens, a random Qwen3 of width 256 and 4
layers on the CPU, in one process. `generate` is given each user's prompt alone and in padded batches, the
allowed tokens by a dictionary of prefixes. The row is void unless items and order are the same, and scores
agree to 1e-3.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.evaluate.search import search_items
from onerec.items.trie import Trie
from onerec.vocab import ItemicVocab
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Line, Lines, Void, at_least, benchmark, figure, in_turn

WHAT = "32 beams, 3 levels, 10,000 items, 8 users"
ITEMS, BEAMS, USERS = 10_000, 32, 8
VOCAB = ItemicVocab(layer_n=3, size_per_layer=256, first_id=4096)
PAD = 0
Answers = list[tuple[list[int], list[float]]]
"""Per user: items, best first, and their scores."""


@benchmark("C20", "constrained beam search", needs_peers=False)
def beam_search(bench: Bench) -> Lines:
    """One table of items, three ways to ask."""
    lm, codes_NL, prompts = _model(), _codes(), _prompts()
    trie, allowed = Trie.of(codes_NL), _prefixes(codes_NL)
    item_of = {tuple(codes): item for item, codes in enumerate(codes_NL.tolist())}
    contenders = {
        "ours": lambda: _timed(lambda: _ours(lm, prompts, trie)),
        "generate, a batch": lambda: _timed(lambda: _generated(lm, prompts, allowed, item_of)),
        "generate, one by one": lambda: _timed(
            lambda: [answer for prompt in prompts for answer in _generated(lm, [prompt], allowed, item_of)]
        ),
    }
    for contender in contenders.values():  # what is loaded or compiled once is no part of it
        contender()
    runs = in_turn(contenders, repeats=bench.times(5))
    ours = figure("ours", runs["ours"])
    for name in ("generate, a batch", "generate, one by one"):
        _require_same(runs["ours"][0]["answers"], runs[name][0]["answers"], name)
        yield Line(WHAT, ours, figure(name, runs[name]), at_least(5))


def _ours(lm: Qwen3ForCausalLM, prompts: list[list[int]], trie: Trie) -> Answers:
    found = search_items(lm, prompts, trie=trie, vocab=VOCAB, width=BEAMS)
    return [(answer.items, answer.scores) for answer in found]


def _generated(
    lm: Qwen3ForCausalLM,
    prompts: list[list[int]],
    allowed: dict[tuple[int, ...], list[int]],
    item_of: dict[tuple[int, ...], int],
) -> Answers:
    lm.set_attn_implementation("sdpa")
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    with torch.inference_mode():
        out = lm.generate(
            ids,
            attention_mask=(ids != PAD).long(),
            prefix_allowed_tokens_fn=lambda _, said: allowed[tuple(said[longest:].tolist())],
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            max_new_tokens=VOCAB.layer_n,
            length_penalty=0.0,
            do_sample=False,
            pad_token_id=PAD,
            return_dict_in_generate=True,
            output_scores=True,
        )
    codes = out.sequences[:, longest:] - torch.tensor([VOCAB.id_of(level, 0) for level in range(3)])
    items = [item_of[tuple(row)] for row in codes.tolist()]
    scores = out.sequences_scores.tolist()
    return [
        (items[start : start + BEAMS], scores[start : start + BEAMS]) for start in range(0, len(items), BEAMS)
    ]


def _timed(work: Callable[[], Answers]) -> dict[str, Any]:
    began = time.perf_counter()
    answers = work()
    return {"seconds": time.perf_counter() - began, "answers": answers}


def _require_same(ours: Answers, theirs: Answers, name: str) -> None:
    for (items, scores), (their_items, their_scores) in zip(ours, theirs, strict=True):
        if items != their_items:
            raise Void(f"{name} finds other items, or in another order")
        if not np.allclose(scores, their_scores, atol=1e-3):
            raise Void(f"{name} has other scores")


def _model() -> Qwen3ForCausalLM:
    torch.manual_seed(11)
    config = Qwen3Config(
        vocab_size=VOCAB.aligned_size(256),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        initializer_range=0.1,  # so that the beams differ by more than rounding
        bos_token_id=None,
        eos_token_id=None,
    )
    return Qwen3ForCausalLM(config).eval()


def _codes() -> np.ndarray[Any, np.dtype[np.int32]]:
    drawn = np.random.default_rng(1).choice(VOCAB.size_per_layer**3, size=ITEMS, replace=False)
    return np.stack(np.unravel_index(drawn, (VOCAB.size_per_layer,) * 3), axis=1).astype(np.int32)


def _prompts() -> list[list[int]]:
    drawn = np.random.default_rng(2)
    lengths = drawn.integers(100, 200, size=USERS)
    return [[*drawn.integers(1, 4096, size=length).tolist(), VOCAB.begin_id] for length in lengths]


def _prefixes(codes_NL: np.ndarray[Any, np.dtype[np.int32]]) -> dict[tuple[int, ...], list[int]]:
    known: dict[tuple[int, ...], set[int]] = {}
    for codes in codes_NL.tolist():
        tokens = [VOCAB.id_of(level, code) for level, code in enumerate(codes)]
        for length in range(VOCAB.layer_n):
            known.setdefault(tuple(tokens[:length]), set()).add(tokens[length])
    return {prefix: sorted(tokens) for prefix, tokens in known.items()}
