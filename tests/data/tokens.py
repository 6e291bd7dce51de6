"""A tokenizer folder whose tokens can be written down by hand: bytes, six merges, Qwen3's special tokens."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

import onerec
from onerec.vocab import ItemicVocab

LAYERS, CODES = 3, 4
MERGES = [("Ċ", "Ċ"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("o", "k"), ("ä", "½")]
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PLAIN = ("<tool_response>", "</tool_response>", "<think>", "</think>")
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = Path(onerec.__file__).parent / "model" / "qwen3_chat_template.jinja"


def vocabulary() -> list[str]:
    """Tokens in id order, the itemic ones last."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = [*alphabet, *(left + right for left, right in MERGES), *SPECIAL, *PLAIN]
    return base + ItemicVocab(LAYERS, CODES, len(base)).spellings()


def write_tokenizer(folder: Path, *, itemic: bool = True, template: str | None = None) -> Path:
    """Write the folder; without `itemic` it is one that was not expanded."""
    known = vocabulary()
    alphabet = known[: 256 + len(MERGES)]
    backend = Tokenizer(BPE(vocab={token: n for n, token in enumerate(alphabet)}, merges=MERGES))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    rest = known[len(alphabet) + len(SPECIAL) :] if itemic else list(PLAIN)
    backend.add_tokens([AddedToken(token, normalized=False) for token in rest])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8") if template is None else template
    tokenizer.save_pretrained(folder)
    return folder


def ids(tokens: str) -> list[int]:
    """Ids of tokens written with spaces between them."""
    numbers = {token: number for number, token in enumerate(vocabulary())}
    return [numbers[token] for token in tokens.split()]
