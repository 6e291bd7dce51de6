"""Ask a model for items: a beam search in the trie of valid ids, and one that may say anything.

The score of an item is the sum of the log-probabilities of its codes under the softmax over the whole
vocabulary, after a prompt that ends with the begin token; nothing is sampled, warped or normalised by length.

Shapes: B users, W beams, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

import torch
from transformers import Qwen3ForCausalLM

from onerec.errors import DataError
from onerec.evaluate.prompts import NO_NUMBERS, Answer
from onerec.evaluate.tree import PromptTree
from onerec.items import beam
from onerec.items.trie import Trie
from onerec.vocab import ItemicVocab


@torch.inference_mode()
def search_items(
    lm: Qwen3ForCausalLM,
    prompts: Sequence[Sequence[int]],
    *,
    trie: Trie,
    vocab: ItemicVocab,
    width: int,
    excluded: Sequence[Sequence[int]] | None = None,
) -> list[Answer]:
    """The best `width` items of each user, fewer where fewer are left; `excluded` are never named.

    Prompts end with the begin token. Items that the search keeps at no level are not found, as in any beam
    search; with `width` items or more per prefix it is exact. Raises DataError for a model that answers NaN.
    """
    remaining = trie.remaining(excluded) if excluded is not None else [None] * vocab.layer_n
    tree = PromptTree(lm, prompts)
    hidden_BWD, beams = tree.hidden_B1D, beam.root(len(prompts), device=lm.device)
    for level in range(vocab.layer_n):
        first = vocab.id_of(level, 0)
        if level:
            hidden_BWD = tree.grow(vocab.id_of(level - 1, 0) + beams.codes_BW, beams.parents_BW)
        log_probs_BWK = tree.log_probs(hidden_BWD, slice(first, first + vocab.size_per_layer))
        beams = beam.step(
            beams, log_probs_BWK, trie=trie, level=level, width=width, remaining_BM=remaining[level]
        )
    if beams.scores_BW.isnan().any():
        raise DataError(NO_NUMBERS)
    items_BW = trie.item_of_leaf_N[beams.nodes_BW].tolist()
    return [
        Answer(*_there(items, scores))
        for items, scores in zip(items_BW, beams.scores_BW.tolist(), strict=True)
    ]


@torch.inference_mode()
def search_freely(
    lm: Qwen3ForCausalLM, prompts: Sequence[Sequence[int]], *, width: int, num_tokens: int
) -> list[list[tuple[int, ...]]]:
    """The best `width` sequences of `num_tokens` tokens after each prompt, best first; any token may come."""
    tree = PromptTree(lm, prompts)
    hidden_BWD = tree.hidden_B1D
    scores_BW = torch.zeros(len(prompts), 1, device=lm.device)
    said_BWT = torch.zeros(len(prompts), 1, 0, dtype=torch.int64, device=lm.device)
    parents_BW = torch.zeros(len(prompts), 1, dtype=torch.int64, device=lm.device)
    for place in range(num_tokens):
        if place:
            hidden_BWD = tree.grow(said_BWT[..., -1], parents_BW)
        log_probs_BWV = tree.log_probs(hidden_BWD)
        num_tokens_V = log_probs_BWV.shape[-1]
        candidates_BC = (scores_BW[..., None] + log_probs_BWV).flatten(1)
        scores_BW, chosen_BW = candidates_BC.topk(min(width, candidates_BC.shape[1]), dim=1)
        parents_BW, tokens_BW = chosen_BW // num_tokens_V, chosen_BW % num_tokens_V
        before_BWT = said_BWT.gather(1, parents_BW[..., None].expand(-1, -1, place))
        said_BWT = torch.cat([before_BWT, tokens_BW[..., None]], dim=-1)
    return [[tuple(said) for said in user] for user in said_BWT.tolist()]


@torch.inference_mode()
def say_greedily(
    lm: Qwen3ForCausalLM, prompts: Sequence[Sequence[int]], *, max_tokens: int, ends: Sequence[int]
) -> list[list[int]]:
    """The likeliest token after each prompt, and again, up to one of `ends`, which is left out."""
    tree = PromptTree(lm, prompts)
    hidden_B1D, ends_E = tree.hidden_B1D, torch.tensor(ends, device=lm.device)
    parents_B1 = torch.zeros(len(prompts), 1, dtype=torch.int64, device=lm.device)
    said_BT = torch.zeros(len(prompts), 0, dtype=torch.int64, device=lm.device)
    for place in range(max_tokens):
        if place:
            hidden_B1D = tree.grow(said_BT[:, -1:], parents_B1)
        said_BT = torch.cat([said_BT, tree.log_probs(hidden_B1D).argmax(-1)], dim=1)
        if torch.isin(said_BT, ends_E).any(dim=1).all():
            break
    return [list(takewhile(lambda token: token not in ends, said)) for said in said_BT.tolist()]


def batches(lengths: Sequence[int], *, size: int) -> Iterator[list[int]]:
    """Places of prompts in batches of `size`, those of like length together, longest first."""
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _there(items: list[int], scores: list[float]) -> tuple[list[int], list[float]]:
    pairs = [(item, score) for item, score in zip(items, scores, strict=True) if score > -torch.inf]
    return [item for item, _ in pairs], [score for _, score in pairs]
