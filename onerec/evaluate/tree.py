"""One prompt per user in a cache, and branches of it that are never copied: tree attention.

The tokens of a step, one for each branch of a user, are query tokens of one sequence that see the prompt and
their own ancestors. So a prompt is read once, however many branches there are, and no cache is ever put in
another order. Which branches are good is not known here.

Shapes: B users, P longest prompt, W branches, T tree tokens so far, Q query tokens, H heads, E head width,
D width of the model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, Qwen3ForCausalLM

TREE_ATTENTION = "onerec_tree"
ROWS_OF_LOGITS = 2048
"""Rows of logits over the whole vocabulary that exist at one time."""


class TreeCache:
    """Keys and values of each layer, and which of them the newest tokens see (None: causally)."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.mask_B1QT: torch.Tensor | None = None

    def extend(
        self, layer: int, key_BHQE: torch.Tensor, value_BHQE: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the keys and values of the newest tokens; returns all of the layer."""
        if layer in self._layers:
            keys, values = self._layers[layer]
            key_BHQE, value_BHQE = torch.cat([keys, key_BHQE], 2), torch.cat([values, value_BHQE], 2)
        self._layers[layer] = (key_BHQE, value_BHQE)
        return key_BHQE, value_BHQE


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - transformers passes one that knows no tree
    *,
    tree: TreeCache,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface over a TreeCache, which callers hand to the model as `tree`."""
    layer: int = module.layer_idx
    keys, values = tree.extend(layer, key, value)
    out_BHQE = scaled_dot_product_attention(
        query,
        keys,
        values,
        attn_mask=tree.mask_B1QT,
        is_causal=tree.mask_B1QT is None,
        scale=scaling,
        enable_gqa=True,
    )
    return out_BHQE.transpose(1, 2).contiguous(), None


class PromptTree:
    """The prompts of a batch of users, and the branches that grow out of them, one token a step."""

    def __init__(self, lm: Qwen3ForCausalLM, prompts: Sequence[Sequence[int]], *, pad_id: int = 0) -> None:
        AttentionInterface.register(TREE_ATTENTION, tree_attention)
        if lm.config._attn_implementation != TREE_ATTENTION:  # noqa: SLF001 - there is no other way to ask
            lm.set_attn_implementation(TREE_ATTENTION)
        device = lm.device
        self._lm, self._cache = lm, TreeCache()
        lengths = [len(prompt) for prompt in prompts]
        longest = max(lengths)
        padded = [[*prompt, *[pad_id] * (longest - len(prompt))] for prompt in prompts]
        self._lengths_B = torch.tensor(lengths, device=device)
        self._sees_prompt_BP = torch.arange(longest, device=device) < self._lengths_B[:, None]
        self._ancestry_BWT = torch.zeros(len(prompts), 1, 0, dtype=torch.bool, device=device)
        self._depth = 0
        hidden_BPD = self._forward(
            torch.tensor(padded, device=device), torch.arange(longest, device=device).repeat(len(prompts), 1)
        )
        self.hidden_B1D = hidden_BPD[torch.arange(len(prompts), device=device), self._lengths_B - 1][:, None]
        """The last hidden state of each prompt: what comes next is read from it."""

    def grow(self, tokens_BW: torch.Tensor, parents_BW: torch.Tensor) -> torch.Tensor:
        """Put one token after branch `parents_BW` of the step before, for W new branches; (B, W, D)."""
        num_users, width = tokens_BW.shape
        inherited_BWT = self._ancestry_BWT.gather(
            1, parents_BW[..., None].expand(-1, -1, self._ancestry_BWT.shape[-1])
        )
        itself_WW = torch.eye(width, dtype=torch.bool, device=tokens_BW.device)
        self._ancestry_BWT = torch.cat([inherited_BWT, itself_WW.expand(num_users, -1, -1)], dim=-1)
        prompt_BWP = self._sees_prompt_BP[:, None].expand(-1, width, -1)
        self._cache.mask_B1QT = torch.cat([prompt_BWP, self._ancestry_BWT], dim=-1)[:, None]
        positions_BW = (self._lengths_B + self._depth)[:, None].expand(-1, width)
        self._depth += 1
        return self._forward(tokens_BW, positions_BW)

    def log_probs(self, hidden_BWD: torch.Tensor, columns: slice = slice(None)) -> torch.Tensor:
        """Log-probabilities, under the softmax over the whole vocabulary, of some of its tokens, in fp32."""
        rows = [
            logits_RV[:, columns] - logits_RV.logsumexp(-1, keepdim=True)
            for hidden_RD in hidden_BWD.flatten(0, 1).split(ROWS_OF_LOGITS)
            for logits_RV in [self._lm.lm_head(hidden_RD).float()]
        ]
        return torch.cat(rows).unflatten(0, hidden_BWD.shape[:2])

    def _forward(self, tokens_BQ: torch.Tensor, positions_BQ: torch.Tensor) -> torch.Tensor:
        out = self._lm.model(
            input_ids=tokens_BQ, position_ids=positions_BQ, use_cache=False, tree=self._cache
        )
        hidden: torch.Tensor = out.last_hidden_state
        return hidden
