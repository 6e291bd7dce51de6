"""Checks that the same tokens give the same logits: in a padded batch, from a KV cache, packed with others.

Shapes: T tokens, B rows of a batch, V rows of the table.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from transformers import DynamicCache

from onerec.model.attention import register_document_attention
from onerec.model_test.check import Finding, Trial
from onerec.model_test.forward import A_TEXT, TEXT

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

    from onerec.model_test.subject import Subject

DOCUMENTS = ("What comes next", A_TEXT, "One, two, three, four, five, six, seven.")
CACHED_STEPS = 4
"""Tokens that are given one by one, after all others at once."""
TOLERANCES = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""Largest distance of logits, relative to their norm, that is rounding: other shapes sum in another order.

In a trained model, tokens that see what they should not, or sit at other positions, are further apart.
"""


@torch.no_grad()
def check_padding(subject: Subject) -> Finding:
    """A text alone, and beside a longer one in a batch padded on the left."""
    short, long = sorted(_documents(subject)[:2], key=len)
    padding = len(long) - len(short)
    ids_BT = _tensor(subject, [[subject.renderer.pad_id] * padding + short, long])
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[0, :padding] = 0
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
    result = subject.model(
        input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions_BT, use_cache=False
    )
    return _compare(_alone(subject, short), result.logits[0, padding:], dtype=subject.model.dtype)


@torch.no_grad()
def check_cache(subject: Subject) -> Finding:
    """All tokens at once, and the last ones one by one from the cached keys and values of those before."""
    ids = _documents(subject)[1]
    begin = len(ids) - CACHED_STEPS
    cached = {_cache_argument(subject.model): DynamicCache(config=subject.model.config)}
    pieces = [
        subject.model(input_ids=piece_1T, use_cache=True, **cached).logits[0, -1]
        for piece_1T in _tensor(subject, [ids]).split([begin, *[1] * CACHED_STEPS], dim=1)
    ]
    return _compare(_alone(subject, ids)[begin - 1 :], torch.stack(pieces), dtype=subject.model.dtype)


@torch.no_grad()
def check_packing(subject: Subject) -> Finding:
    """Texts alone, and packed into one row as in training."""
    documents = _documents(subject)
    lengths = [len(ids) for ids in documents]
    borders = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    with _attending_within_documents(subject.model):
        result = subject.model(
            input_ids=_tensor(subject, [list(itertools.chain(*documents))]),
            position_ids=torch.cat([torch.arange(length) for length in lengths])[None].to(subject.device),
            use_cache=False,
            cu_seqlens=borders.to(subject.device),
            max_seqlen=max(lengths),
        )
    alone_TV = torch.cat([_alone(subject, ids) for ids in documents])
    return _compare(alone_TV, result.logits[0], dtype=subject.model.dtype)


def _cache_argument(model: Qwen3ForCausalLM) -> str:
    """transformers renamed it; 5.40 will no longer know the old name."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


@contextmanager
def _attending_within_documents(model: Qwen3ForCausalLM) -> Iterator[None]:
    before = model.config._attn_implementation  # noqa: SLF001 - no public getter
    model.set_attn_implementation(register_document_attention())
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _documents(subject: Subject) -> list[list[int]]:
    return [subject.ids_of(text) for text in DOCUMENTS]


def _alone(subject: Subject, ids: list[int]) -> torch.Tensor:
    logits_TV: torch.Tensor = subject.model(input_ids=_tensor(subject, [ids]), use_cache=False).logits[0]
    return logits_TV


def _tensor(subject: Subject, ids: list[list[int]]) -> torch.Tensor:
    return torch.tensor(ids, device=subject.model.device)


def _compare(one_TV: torch.Tensor, other_TV: torch.Tensor, *, dtype: torch.dtype) -> Finding:
    norms_T = one_TV.float().norm(dim=-1)
    distance = float(((one_TV.float() - other_TV.float()).norm(dim=-1) / norms_T).max())
    allowed = TOLERANCES[dtype]
    told = f"logits differ by {distance:.1e} of their norm, up to {allowed:g} is rounding of {dtype}"
    told = told.replace("torch.", "")
    return Finding("ok" if distance <= allowed else "failed", told)  # nan is no rounding


_trial = partial(Trial, "forward", needs=(TEXT,))
TRIALS = (
    _trial("left padding", check_padding),
    _trial("KV cache", check_cache),
    _trial("packed documents", check_packing),
)
