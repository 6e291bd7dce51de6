from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from onerec.data.preparation import overlong as overlong_module
from onerec.data.preparation.overlong import NFC_SHRINKS, TokenBound, is_large
from onerec.data.preparation.prepare import prepare
from tests.data.rows import chat, text, write_rows


@pytest.fixture
def backend(tokenizer_dir):
    return Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))


def test_nfc_makes_no_text_shorter_than_is_reckoned_with():
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    whole = [one for one in characters if unicodedata.normalize("NFC", one) == one]
    ratios = [len(unicodedata.normalize("NFD", one).encode()) / len(one.encode()) for one in whole]
    assert max(ratios) == NFC_SHRINKS


PARTS = ["<|endoftext|>", "<s_a_1>", "the", " the", "ok", "\n\n", "가", "ΐ", "x", "你", "🙂", "e\u0301"]


@given(st.lists(st.sampled_from(PARTS), max_size=30).map("".join), st.integers(0, 20))
def test_a_text_that_surely_exceeds_has_more_tokens(tokenizer_dir, parts, limit):
    backend = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    if TokenBound.of(backend).exceeds(parts, limit):
        assert len(backend.encode(parts, add_special_tokens=False).ids) > limit


def test_the_bound_is_the_longest_token(backend):
    assert TokenBound.of(backend).bytes_per_token == NFC_SHRINKS * len("</tool_response>")
    long = "x" * NFC_SHRINKS * len("</tool_response>") * 10
    assert not TokenBound.of(backend).exceeds(long, 10)
    assert TokenBound.of(backend).exceeds(long + "x", 10)
    assert not TokenBound.of(backend).exceeds(long[:-1] + "é", 10)


def test_rows_of_common_length_need_no_closer_look():
    assert not is_large(text("x" * 100_000))
    assert is_large(text("x" * 10_000_000))
    assert is_large(chat(("user", "x" * 100_000), ("assistant", "x" * 100_001)))


@pytest.mark.parametrize("overlong", ["drop", "split"])
@pytest.mark.parametrize("only_assistant_loss", [True, False])
def test_what_is_counted_and_stored_is_the_same_with_and_without_the_short_cut(
    make_config, tmp_path, monkeypatch, overlong, only_assistant_loss
):
    lengths = [0, 10, 500, 900, 3000, 40_000]
    rows = [text("x" * length, number=number) for number, length in enumerate(lengths)]
    for number, length in enumerate(lengths):
        long = "你 the" * length
        rows += [
            chat(("user", long), ("assistant", "a"), number=100 + number),
            chat(("user", long), number=200),
        ]
    path = write_rows(tmp_path / "a.parquet", rows)
    config = make_config(
        path, max_reject_fraction=1, overlong=overlong, only_assistant_loss=only_assistant_loss
    )
    seen, stores = [], []
    for short_cut in (0, 10**9):
        monkeypatch.setattr(overlong_module, "LARGE_CHARACTERS", short_cut)
        monkeypatch.setattr(TokenBound, "exceeds", counted(TokenBound.exceeds, seen))
        folder = tmp_path / str(short_cut)
        summary = prepare(config.model_copy(update={"output_dir": str(folder)}))
        stores.append((summary["sources"], (folder / "rejects.jsonl").read_text()))
        monkeypatch.undo()
    assert stores[0] == stores[1]
    assert True in seen


def counted(function, seen):
    def call(*arguments):
        seen.append(function(*arguments))
        return seen[-1]

    return call


@pytest.mark.parametrize("what", ["normalizer", "removes", "strips", "alphabet", "no bytes"])
def test_nothing_is_proved_of_a_tokenizer_that_may_throw_text_away(backend, what):
    if what == "normalizer":
        backend.normalizer = normalizers.Strip()
    elif what == "removes":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\s+"), "removed"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    elif what == "strips":
        backend.add_tokens([AddedToken("<greedy>", rstrip=True)])
    elif what == "alphabet":
        backend.model = BPE(vocab={"x": 0}, merges=[])
    else:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "isolated")
    bound = TokenBound.of(backend)
    assert bound.bytes_per_token is None
    assert not bound.exceeds("x" * 1_000_000, 10)
