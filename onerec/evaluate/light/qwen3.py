"""The forward pass of Qwen3 in numpy, for one prompt and the branches that grow out of it.

Says what transformers' Qwen3ForCausalLM says in fp32, to rounding. Nothing is trained, and no batch is read.

Shapes: Q newest tokens, T tokens so far, W branches, D width of the model, H query heads, G key heads,
R query heads of each key head, E head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onerec.evaluate.light.weights import Floats

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """What a Qwen3's config.json says beside its weights."""

    layers: int
    key_heads: int
    head_dim: int
    eps: float
    theta: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape | None:
        """None for a model that is computed in another way."""
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        theta = rope.get("rope_theta", config.get("rope_theta"))
        if theta is None:
            return None
        is_plain = (
            config.get("architectures") == ["Qwen3ForCausalLM"]
            and rope.get("rope_type", "default") == "default"
            and config.get("hidden_act", "silu") == "silu"
            and not config.get("attention_bias")
            and not config.get("use_sliding_window")
        )
        if not is_plain:
            return None
        return cls(
            layers=config["num_hidden_layers"],
            key_heads=config["num_key_value_heads"],
            head_dim=config["head_dim"],
            eps=config["rms_norm_eps"],
            theta=theta,
        )


class Branches:
    """One prompt that is read once, and branches of it; keys and values stay where they are."""

    def __init__(self, shape: Shape, weights: Mapping[str, Floats], prompt: Sequence[int]) -> None:
        self._shape, self._weights = shape, weights
        self._keys: dict[int, Floats] = {}
        self._values: dict[int, Floats] = {}
        self._length, self._depth = len(prompt), 0
        self._ancestry_WT: Bools = np.zeros((1, 0), dtype=np.bool_)
        places = np.arange(len(prompt))
        hidden_QD = self._forward(np.asarray(prompt), places, places[:, None] >= places)
        self.hidden_1D = hidden_QD[-1:]
        """The last hidden state of the prompt."""

    def grow(self, tokens_W: Ints, parents_W: Ints) -> Floats:
        """Put one token after branch `parents_W` of the step before, for W new branches; (W, D)."""
        width = len(tokens_W)
        itself_WW = np.eye(width, dtype=np.bool_)
        self._ancestry_WT = np.concatenate([self._ancestry_WT[parents_W], itself_WW], axis=1)
        sees_prompt = np.ones((width, self._length), dtype=np.bool_)
        positions_W = np.full(width, self._length + self._depth)
        self._depth += 1
        return self._forward(tokens_W, positions_W, np.concatenate([sees_prompt, self._ancestry_WT], axis=1))

    def log_probs(self, hidden_QD: Floats) -> Floats:
        """Log-probabilities of all tokens after each hidden state; (Q, V)."""
        head_VD = self._weights.get("lm_head.weight")
        logits_QV = hidden_QD @ (self._weights["model.embed_tokens.weight"] if head_VD is None else head_VD).T
        logits_QV -= logits_QV.max(axis=1, keepdims=True)
        return np.asarray(logits_QV - np.log(np.exp(logits_QV).sum(axis=1, keepdims=True)))

    def _forward(self, tokens_Q: Ints, positions_Q: Ints, sees_QT: Bools) -> Floats:
        hidden_QD = self._weights["model.embed_tokens.weight"][tokens_Q]
        turns = _turns(positions_Q, self._shape)
        for layer in range(self._shape.layers):
            name = f"model.layers.{layer}"
            normed_QD = self._normed(hidden_QD, f"{name}.input_layernorm")
            hidden_QD = hidden_QD + self._attention(normed_QD, layer, turns, sees_QT)
            normed_QD = self._normed(hidden_QD, f"{name}.post_attention_layernorm")
            gate = self._linear(normed_QD, f"{name}.mlp.gate_proj")
            up = self._linear(normed_QD, f"{name}.mlp.up_proj")
            silu = gate / (1 + np.exp(-gate.clip(min=-80)))  # exp(80) is still a float
            hidden_QD = hidden_QD + self._linear(silu * up, f"{name}.mlp.down_proj")
        return self._normed(hidden_QD, "model.norm")

    def _attention(
        self, hidden_QD: Floats, layer: int, turns: tuple[Floats, Floats], sees_QT: Bools
    ) -> Floats:
        name, width = f"model.layers.{layer}.self_attn", self._shape.head_dim
        query_QHE, key_QGE, value_QGE = (
            self._linear(hidden_QD, f"{name}.{part}_proj").reshape(len(hidden_QD), -1, width)
            for part in "qkv"
        )
        query_QHE = _turned(self._normed(query_QHE, f"{name}.q_norm"), turns)
        key_QGE = _turned(self._normed(key_QGE, f"{name}.k_norm"), turns)
        key_GTE = _longer(self._keys, layer, key_QGE.swapaxes(0, 1))
        value_GTE = _longer(self._values, layer, value_QGE.swapaxes(0, 1))
        query_GRQE = query_QHE.swapaxes(0, 1).reshape(self._shape.key_heads, -1, len(hidden_QD), width)
        scores_GRQT = query_GRQE @ key_GTE[:, None].swapaxes(2, 3) / np.float32(np.sqrt(width))
        scores_GRQT = np.where(sees_QT, scores_GRQT, np.float32(-np.inf))
        weights_GRQT = np.exp(scores_GRQT - scores_GRQT.max(axis=-1, keepdims=True))
        weights_GRQT /= weights_GRQT.sum(axis=-1, keepdims=True)
        seen_HQE = (weights_GRQT @ value_GTE[:, None]).reshape(-1, len(hidden_QD), width)
        return self._linear(seen_HQE.swapaxes(0, 1).reshape(len(hidden_QD), -1), f"{name}.o_proj")

    def _linear(self, hidden: Floats, name: str) -> Floats:
        return np.asarray(hidden @ self._weights[f"{name}.weight"].T)

    def _normed(self, hidden: Floats, name: str) -> Floats:
        mean = np.square(hidden).mean(axis=-1, keepdims=True)
        return np.asarray(
            hidden / np.sqrt(mean + np.float32(self._shape.eps)) * self._weights[f"{name}.weight"]
        )


def _turns(positions_Q: Ints, shape: Shape) -> tuple[Floats, Floats]:
    """Cosine and sine of each position's turns, (Q, 1, E)."""
    rates = shape.theta ** -(np.arange(0, shape.head_dim, 2, dtype=np.float32) / shape.head_dim)
    angles = (positions_Q[:, None] * np.concatenate([rates, rates])).astype(np.float32)[:, None]
    return np.cos(angles), np.sin(angles)


def _turned(heads_QHE: Floats, turns: tuple[Floats, Floats]) -> Floats:
    """Rotary positions (Su et al. 2021), halves rotated as transformers does."""
    cosine, sine = turns
    first, second = np.split(heads_QHE, 2, axis=-1)
    return np.asarray(heads_QHE * cosine + np.concatenate([-second, first], axis=-1) * sine)


def _longer(stored: dict[int, Floats], layer: int, new_GQE: Floats) -> Floats:
    if layer in stored:
        new_GQE = np.concatenate([stored[layer], new_GQE], axis=1)
    stored[layer] = new_GQE
    return new_GQE
