"""Logits that make no sense are told, and logits that depend on how the same tokens are given."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache

from onerec.model_test import agreement
from tests.model_test.folders import ALWAYS, document, found, subject, tensors, unusual


def test_a_loss_far_worse_than_guessing_fails_and_nothing_is_generated(folder):
    with tensors(folder) as held:
        held["model.embed_tokens.weight"] *= 1000
    checks = found(folder, {"name": "text", "kind": "text", "prompt": "Hello"})
    assert checks["forward, text"].status == "failed"
    assert "far worse than guessing" in checks["forward, text"].detail
    assert checks["generation, text"].detail == "'forward, text' failed"


def test_a_loss_worse_than_guessing_is_a_note(folder):
    with tensors(folder) as held:
        held["model.norm.weight"] *= 12
    checks = found(folder)
    assert checks["forward, text"].status == "note"
    assert checks["forward, text"].detail.endswith(": worse than guessing")


def test_attention_that_training_does_not_have_makes_packs_differ(folder):
    with document(folder / "config.json") as settings:
        settings.update(
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=0,
            layer_types=["sliding_attention"] * 2,
        )
    with tensors(folder) as held:
        for name in held:
            if "o_proj" in name or "v_proj" in name:
                held[name] *= 8
    assert unusual(found(folder)) == {"packed documents": "failed"} | ALWAYS


def blind_attention(module, query, key, value, attention_mask, **_):
    """Causal, but it sees what the mask hides."""
    out = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    return out.transpose(1, 2), None


def test_attention_that_sees_padding_is_told(folder):
    AttentionInterface.register("blind", blind_attention)
    opened = subject(folder)
    opened.model.set_attn_implementation("blind")
    assert agreement.check_padding(opened).status == "failed"


class ForgetfulCache(DynamicCache):
    """Keeps nothing."""

    def update(self, key_states, value_states, *_, **__):
        return key_states, value_states


def test_a_cache_that_forgets_is_told(folder, monkeypatch):
    monkeypatch.setattr(agreement, "DynamicCache", lambda config: ForgetfulCache())
    assert agreement.check_cache(subject(folder)).status == "failed"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_of_short_formats_agree_within_their_rounding(folder, dtype):
    opened = subject(folder)
    opened.model.to(dtype)
    for check in (agreement.check_padding, agreement.check_cache, agreement.check_packing):
        assert check(opened).status == "ok", check


def test_the_attention_of_the_model_stays_what_it_was(folder):
    opened = subject(folder)
    before = opened.model.config._attn_implementation
    agreement.check_packing(opened)
    assert opened.model.config._attn_implementation == before
