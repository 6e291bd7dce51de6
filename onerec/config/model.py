"""Settings of models: their vocabulary, their sizes, where they start from, how they are tested."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from onerec.config.data import StageSource
from onerec.config.section import Section


class Vocab(Section):
    """The itemic tokens: `itemic_layer_n` levels of `vocab_size_per_layer` codes, then begin and end."""

    itemic_layer_n: Annotated[int, Field(ge=1, le=26)] = 3
    """Levels of a semantic id."""
    vocab_size_per_layer: PositiveInt = 8192
    """Codes per level."""
    alignment: PositiveInt = 256
    """The embedding table has a multiple of this many rows."""


class InitModel(Section):
    """A Qwen3 from scratch, and its tokenizer."""

    hidden_size: PositiveInt = 128
    """Width of the model."""
    num_hidden_layers: PositiveInt = 4
    """Decoder layers."""
    num_attention_heads: PositiveInt = 4
    """Query heads per layer."""
    num_key_value_heads: PositiveInt = 2
    """Key and value heads per layer; divides num_attention_heads."""
    head_dim: PositiveInt = 32
    """Width of one head; even."""
    intermediate_size: PositiveInt = 384
    """Width of the feed-forward layers."""
    max_position_embeddings: PositiveInt = 4096
    """Longest document in tokens."""
    tokenizer_vocab_size: Annotated[int, Field(ge=320)] = 4096
    """Size of the byte-level BPE tokenizer trained on the data, special tokens included."""
    tokenizer_dir: str | None = None
    """A Hugging Face tokenizer folder to take instead of training one."""
    corpus: Annotated[tuple[StageSource, ...], Field(min_length=1)] = ()
    """What the tokenizer is trained on; needed without tokenizer_dir."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> InitModel:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads {self.num_key_value_heads} does not divide "
                f"num_attention_heads {self.num_attention_heads}; choose a divisor"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary embeddings need an even width")
        if self.tokenizer_dir is None and not self.corpus:
            raise ValueError("the tokenizer needs a text; give corpus = [{ stage, name }] or tokenizer_dir")
        return self


class ModelSource(Section):
    """The model that a training stage starts from."""

    model_dir: str
    """Hugging Face folder."""
    model_class: Literal["Qwen3ForCausalLM"] = "Qwen3ForCausalLM"
    use_tie_weights: bool | None = None
    """Whether embedding and head are one table; default: what the folder's config says."""


class ModelTest(Section):
    """What the model test asks of a converted model."""

    test_cases: str | None = None
    """JSON file of prompts with expected substrings; default: the cases shipped with the trainer."""
    heldout: StageSource | None = None
    """Chat rows that were never trained on: the loss of their answers is told."""
    popularity: StageSource | None = None
    """Chat rows whose answers make the popularity model that the held-out loss is compared with."""
    max_new_tokens: PositiveInt = 32
    """Longest generation of a test case."""
