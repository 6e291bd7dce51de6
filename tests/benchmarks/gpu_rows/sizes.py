"""How large everything is: the real thing for a GPU, and a rehearsal that walks the same paths on a CPU.

Nothing but sizes differs between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import Qwen3Config

from onerec.config import Vocab


@dataclass(frozen=True)
class Dims:
    """What makes one Qwen3 larger than another; all are tied."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int


@dataclass(frozen=True)
class Sizes:
    """One way to run the rows."""

    name: str
    max_length: int
    """Tokens of a pack."""
    vocab: Vocab
    rows: int
    """Rows of the embedding table."""
    first_itemic_id: int
    models: Mapping[str, Dims]
    """Qwen3 0.6B, 1.7B and 4B, or what stands for them."""
    chunk: int
    """Rows of logits that the reference has at one time; our `minibatch_size`."""
    corpus_rows: int
    """Rows of the corpus that packs are made of."""
    max_item_tokens: int
    """Most tokens of a sample."""
    steps: int
    """Timed steps of one turn."""
    turns: int
    """Turns of each contender."""
    loop_steps: int
    """Steps of a run of the real loop."""
    workers: int
    """Data workers of the real loader."""

    def config(self, model: str) -> Qwen3Config:
        """transformers' configuration of one of the models, with this vocabulary."""
        dims = self.models[model]
        return Qwen3Config(
            vocab_size=self.rows,
            hidden_size=dims.hidden,
            num_hidden_layers=dims.layers,
            num_attention_heads=dims.heads,
            num_key_value_heads=dims.kv_heads,
            head_dim=dims.head_dim,
            intermediate_size=dims.intermediate,
            max_position_embeddings=max(self.max_length, 40_960),
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            tie_word_embeddings=True,
        )


REAL = Sizes(
    name="real",
    max_length=32_768,
    vocab=Vocab(itemic_layer_n=3, vocab_size_per_layer=8192),
    rows=176_384,
    first_itemic_id=151_669,
    models={
        "0.6B": Dims(1024, 28, 16, 8, 128, 3072),
        "1.7B": Dims(2048, 28, 16, 8, 128, 6144),
        "4B": Dims(2560, 36, 32, 8, 128, 9728),
    },
    chunk=16_384,
    corpus_rows=2500,
    max_item_tokens=32_768,
    steps=4,
    turns=3,
    loop_steps=10,
    workers=4,
)
REHEARSAL = Sizes(
    name="rehearsal",
    max_length=128,
    vocab=Vocab(itemic_layer_n=3, vocab_size_per_layer=8),
    rows=160,
    first_itemic_id=130,
    models={name: Dims(16, 2, 2, 1, 8, 24) for name in ("0.6B", "1.7B", "4B")},
    chunk=64,
    corpus_rows=60,
    max_item_tokens=40,
    steps=2,
    turns=2,
    loop_steps=4,
    workers=1,
)
