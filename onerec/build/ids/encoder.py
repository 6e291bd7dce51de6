"""Texts to vectors by a Hugging Face encoder in a local folder: the mean of its last hidden states.

Nothing is downloaded, only safetensors are read, and no code of the folder is run. Weights are in single
precision, on the CPU.

Shapes: N texts, B texts at one time, T tokens of the longest, D vector width.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onerec.build.interactions import Float32, Item
from onerec.errors import ConfigError
from onerec.progress import say

MAX_TOKENS = 512
"""Longer texts are cut; fewer where the encoder takes fewer."""
BATCH_TOKENS = 8_192
TOKENISED_AT_ONCE = 1_024
SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class TextEncoder:
    """An encoder by its folder, and a digest of what is in it."""

    folder: str
    digest: str
    width: int

    def of_new(self, items: Sequence[Item], embeddings_ND: Float32 | None = None) -> Float32:  # noqa: ARG002
        """Vectors of new items, (N, D); raises ConfigError when the folder holds another encoder by now."""
        if digest_of(Path(self.folder)) != self.digest:
            raise ConfigError(
                f"{self.folder} is not the text encoder of the build any more; put that one there again"
            )
        return encode_items_text(items, Path(self.folder))


def encode_items_text(items: Sequence[Item], folder: Path, *, report: Callable[[str], None] = say) -> Float32:
    """Vectors of what is written about items, (N, D); zero for items without text.

    Raises ConfigError when the folder holds no encoder that can be loaded.
    """
    tokenizer, model = _load(folder)
    limit = min(MAX_TOKENS, tokenizer.model_max_length, _positions(model))
    texts = [item_text_of(item) for item in items]
    vectors_ND = np.zeros((len(items), model.config.hidden_size), dtype=np.float32)
    # of like length, the longest first: a batch that does not fit into memory fails at once
    order = sorted((i for i, text in enumerate(texts) if text), key=lambda i: (-len(texts[i]), i))
    done, told = 0, time.monotonic()
    for chosen, tokens in _batches(texts, order, tokenizer, limit=limit):
        vectors_ND[chosen] = _means(model, tokens)
        done += len(chosen)
        if time.monotonic() - told > SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            report(f"text encoder: {done:,} of {len(order):,} items")
    return vectors_ND


def item_text_of(item: Item) -> str:
    """Title, categories and text, a line each; empty where there is neither title nor text."""
    if not item.has_text:
        return ""
    return "\n".join(part for part in (item.title, ", ".join(item.categories), item.text) if part)


def digest_of(folder: Path) -> str:
    """Digest of configuration, tokenizer and weights."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.safetensors")]):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    return digest.hexdigest()


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - seconds, which other vectors need not

    if not folder.is_dir():
        raise ConfigError(f"data.text_encoder_dir: {folder} is not there; name a folder with an encoder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError, KeyError) as fault:
        reason = str(fault).splitlines()[0]
        raise ConfigError(
            f"data.text_encoder_dir: {folder} cannot be loaded ({reason}); it needs config.json, a tokenizer "
            "and weights as safetensors, of a kind that transformers knows itself"
        ) from fault
    return tokenizer, model.eval()


def _positions(model: Any) -> int:
    return int(getattr(model.config, "max_position_embeddings", None) or MAX_TOKENS)


def _batches(
    texts: Sequence[str], order: Sequence[int], tokenizer: Any, *, limit: int
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Items and their tokens, of like length, of at most BATCH_TOKENS tokens padding included."""
    for start in range(0, len(order), TOKENISED_AT_ONCE):
        some = order[start : start + TOKENISED_AT_ONCE]
        tokens = tokenizer([texts[i] for i in some], truncation=True, max_length=limit)["input_ids"]
        by_length = sorted(range(len(some)), key=lambda place: (-len(tokens[place]), place))
        begin = 0
        while begin < len(by_length):
            size = max(1, BATCH_TOKENS // max(1, len(tokens[by_length[begin]])))
            places = by_length[begin : begin + size]
            yield [some[place] for place in places], [tokens[place] for place in places]
            begin += size


def _means(model: Any, tokens: Sequence[Sequence[int]]) -> Float32:
    """Mean over each text's own tokens of the last hidden state, (B, D)."""
    longest = max(map(len, tokens))
    ids_BT = torch.zeros(len(tokens), longest, dtype=torch.int64)
    mask_BT = torch.zeros(len(tokens), longest, dtype=torch.int64)
    for row, own in enumerate(tokens):
        ids_BT[row, : len(own)] = torch.tensor(own)
        mask_BT[row, : len(own)] = 1
    with torch.inference_mode():
        hidden_BTD = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    sums_BD = (hidden_BTD * mask_BT[..., None]).sum(dim=1)
    return np.asarray((sums_BD / mask_BT.sum(dim=1, keepdim=True).clamp(min=1)).numpy())
