"""The pure step of a search for the best items: beams and log-probabilities of the next code to new beams.

Where the log-probabilities come from is not known here. A score is the sum of the log-probabilities of the
codes so far; equal scores are ordered by node. A beam that is not there has the score -inf.

Shapes: B users, W beams before the step, K codes of the level, C children of all beams together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from onerec.items.trie import Trie


@dataclass(frozen=True)
class Beams:
    """The best prefixes of each user, best first."""

    nodes_BW: torch.Tensor
    """Node of the trie, on the level of the codes so far."""
    scores_BW: torch.Tensor
    parents_BW: torch.Tensor
    """The beam before the step that each one goes on from."""
    codes_BW: torch.Tensor
    """The newest code of each."""


def root(num_users: int, *, device: torch.device | str = "cpu") -> Beams:
    """One empty prefix per user."""
    zeros_B1 = torch.zeros(num_users, 1, dtype=torch.int64, device=device)
    return Beams(zeros_B1, torch.zeros(num_users, 1, device=device), zeros_B1, zeros_B1)


def step(
    beams: Beams,
    log_probs_BWK: torch.Tensor,
    *,
    trie: Trie,
    level: int,
    width: int,
    remaining_BM: torch.Tensor | None = None,
) -> Beams:
    """The best `width` prefixes that are one code longer, fewer where the trie has fewer.

    `remaining_BM` are the items that a user may still be told below each node of this level; nodes without
    any are left out.
    """
    here = trie.levels[level]
    num_users, num_beams = beams.nodes_BW.shape
    counts_P = here.num_children_M[beams.nodes_BW].flatten()
    beam_C = torch.repeat_interleave(torch.arange(num_users * num_beams, device=counts_P.device), counts_P)
    within_C = torch.arange(len(beam_C), device=counts_P.device) - (counts_P.cumsum(0) - counts_P)[beam_C]
    node_C = here.first_child_M[beams.nodes_BW].flatten()[beam_C] + within_C
    code_C = here.codes_M[node_C]
    user_C = beam_C // num_beams
    score_C = beams.scores_BW.flatten()[beam_C] + log_probs_BWK.flatten(0, 1)[beam_C, code_C].float()
    if remaining_BM is not None:
        score_C = score_C.masked_fill(remaining_BM[user_C, node_C] <= 0, -torch.inf)
    return _best(user_C, node_C, beam_C % num_beams, code_C, score_C, num_users=num_users, width=width)


def _best(
    user_C: torch.Tensor,
    node_C: torch.Tensor,
    parent_C: torch.Tensor,
    code_C: torch.Tensor,
    score_C: torch.Tensor,
    *,
    num_users: int,
    width: int,
) -> Beams:
    """The best candidates of each user: three stable sorts, by node, score and user."""
    order_C = torch.argsort(node_C, stable=True)
    order_C = order_C[torch.argsort(score_C[order_C], descending=True, stable=True)]
    order_C = order_C[torch.argsort(user_C[order_C], stable=True)]
    counts_B = torch.bincount(user_C, minlength=num_users)
    width = min(width, int(counts_B.max()))
    places_BW = (counts_B.cumsum(0) - counts_B)[:, None] + torch.arange(width, device=user_C.device)
    is_there_BW = torch.arange(width, device=user_C.device) < counts_B[:, None]
    chosen_BW = order_C[places_BW.clamp(max=len(order_C) - 1)]
    return Beams(
        nodes_BW=node_C[chosen_BW],
        scores_BW=score_C[chosen_BW].masked_fill(~is_there_BW, -torch.inf),
        parents_BW=parent_C[chosen_BW],
        codes_BW=code_C[chosen_BW],
    )
