"""The short cuts of encoding give the ids and spans of the whole text, or are not taken."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel

from onerec.data.source.validate import Row, RowError
from onerec.data.text import encode
from onerec.data.text.encode import Encoder, why_not
from onerec.data.text.itemic_scan import itemic_vocab_of
from onerec.data.text.render import Rendered, Renderer
from onerec.model.tokenizer import save_tokenizer, train_tokenizer
from onerec.vocab import ItemicVocab
from tests.data.rows import sample_rows, write_rows
from tests.data.strange_text import StrangeText
from tests.data.tokens import CODES, LAYERS, write_tokenizer

END = "<|im_end|>"
BATCH = 500


def whole(backend: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text as the tokenizer gives them."""
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def slow(renderer: Renderer) -> Renderer:
    """A renderer of the same tokenizer that takes no short cut."""
    other = copy.copy(renderer)
    other._encoder = None
    return other


def strange(backend: Tokenizer, seed: int, *, layers: int, codes: int) -> StrangeText:
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    return StrangeText(seed, tokens=[t for t in added if "<s_" not in t], layers=layers, codes=codes)


def assert_same_ids(backend: Tokenizer, fuzz: StrangeText, *, count: int) -> None:
    encoder = Encoder(backend)
    for _ in range(0, count, BATCH):
        texts = [fuzz.string() for _ in range(BATCH)]
        ours = [ids.tolist() for ids in encoder.encode_many(texts)]
        different = [
            ascii(text) for text, a, b in zip(texts, ours, whole(backend, texts), strict=True) if a != b
        ]
        assert different == []


def told(result: Rendered | RowError) -> object:
    return (
        (result.reason, result.excerpt)
        if isinstance(result, RowError)
        else (result.input_ids.tolist(), result.spans)
    )


def assert_same_rows(renderer: Renderer, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        pairs = zip(some, renderer.render_many(some), slow(renderer).render_many(some), strict=True)
        assert [ascii(row) for row, ours, theirs in pairs if told(ours) != told(theirs)] == []


def test_ids_of_100_000_strange_texts_are_those_of_the_real_tokenizer(qwen3_dir):
    backend = Renderer(qwen3_dir).tokenizer.backend_tokenizer
    assert_same_ids(backend, strange(backend, 1, layers=3, codes=8192), count=100_000)


def test_ids_and_spans_of_strange_rows_are_those_of_the_whole_text(qwen3_dir):
    renderer = Renderer(qwen3_dir)
    fuzz = strange(renderer.tokenizer.backend_tokenizer, 2, layers=3, codes=8192)
    rows = [fuzz.row(number) for number in range(6000)]
    assert_same_rows(renderer, rows)
    parts = [
        renderer._parts_of(script)
        for script in renderer._scripts_of(rows)
        if not isinstance(script, RowError)
    ]
    assert sum(not some for some in parts) > 100, "texts that cannot be cut are among them"
    assert sum(len(some) > 1 for some in parts) > 1000, "and texts that can"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_a_million_more_strange_texts_and_rows(qwen3_dir, seed):
    renderer = Renderer(qwen3_dir)
    backend = renderer.tokenizer.backend_tokenizer
    fuzz = strange(backend, seed, layers=3, codes=8192)
    assert_same_ids(backend, fuzz, count=250_000)
    assert_same_rows(renderer, [fuzz.row(number) for number in range(25_000)])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(max_size=20) | st.integers().map(lambda seed: seeded(seed).string()), max_size=5).filter(
        lambda texts: all(text.isascii() or text.encode("utf-8", "ignore").decode() == text for text in texts)
    )
)
def test_ids_of_any_texts_are_those_of_the_tokenizer(renderer, texts):
    backend = renderer.tokenizer.backend_tokenizer
    assert [ids.tolist() for ids in Encoder(backend).encode_many(texts)] == whole(backend, texts)


def seeded(seed: int) -> StrangeText:
    return StrangeText(seed, tokens=["<|im_end|>", "<|sid_end|>", "<think>"], layers=LAYERS, codes=CODES)


def test_rows_of_a_tokenizer_without_itemic_tokens_are_the_same(tmp_path):
    renderer = Renderer(write_tokenizer(tmp_path, itemic=False))
    assert renderer.slow_because is None
    fuzz = seeded(3)
    assert_same_rows(renderer, [fuzz.row(number) for number in range(500)])


def test_what_was_learned_is_forgotten_when_it_is_much_and_ids_stay(renderer, monkeypatch):
    monkeypatch.setattr(encode, "KEPT_PIECES", 40)
    backend = renderer.tokenizer.backend_tokenizer
    encoder, fuzz = Encoder(backend), seeded(4)
    most = 0
    for _ in range(60):
        texts = [fuzz.string() + "long" * 40 for _ in range(5)]
        assert [ids.tolist() for ids in encoder.encode_many(texts)] == whole(backend, texts)
        most = max(most, len(encoder._pieces), len(encoder._words) - len(encoder._tokens))
        kept = [*encoder._pieces, *encoder._words]
        assert max(map(len, kept)) <= encode.KEPT_LENGTH
    assert most < 400


def test_a_tokenizer_of_our_own_takes_the_short_cuts(tmp_path):
    write_rows(tmp_path / "corpus" / "part.parquet", sample_rows(60))
    save_tokenizer(train_tokenizer((str(tmp_path / "corpus"),), vocab_size=290), tmp_path, max_length=128)
    renderer = Renderer(tmp_path)
    assert renderer.slow_because is None
    assert_same_rows(renderer, sample_rows(60))


def reworked(folder: Path, **parts: object) -> Tokenizer:
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for name, part in parts.items():
        setattr(backend, name, part)
    return backend


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(), BYTES])
ADDING = processors.BertProcessing(("a", 1), ("b", 2))
MODEL, NORMALIZER = "its model is not plain BPE", "its normalizer is not NFC"
PRE_TOKENIZER = "its pre-tokenizer is not that of Qwen3"
POST_PROCESSOR = "its post-processor is not that of Qwen3"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, None),
        ({"post_processor": processors.ByteLevel()}, None),
        ({"normalizer": None}, None),
        ({"normalizer": normalizers.NFKC()}, NORMALIZER),
        ({"pre_tokenizer": pre_tokenizers.ByteLevel()}, PRE_TOKENIZER),
        ({"pre_tokenizer": DIGITS}, PRE_TOKENIZER),
        ({"pre_tokenizer": None}, PRE_TOKENIZER),
        ({"post_processor": ADDING}, POST_PROCESSOR),
        ({"model": BPE(vocab={"a": 0}, merges=[], dropout=0.1)}, MODEL),
        ({"model": WordLevel(vocab={"a": 0}, unk_token="a")}, MODEL),
        ({"encode_special_tokens": True}, "it encodes special tokens as text"),
    ],
)
def test_a_tokenizer_that_works_in_another_way_is_named(tokenizer_dir, parts, reason):
    assert why_not(reworked(tokenizer_dir, **parts), must_find=END) == reason


@pytest.mark.parametrize(
    "token",
    [
        AddedToken("<x>", lstrip=True, normalized=False),
        AddedToken("<x>", rstrip=True, normalized=False),
        AddedToken("<x>", single_word=True, normalized=False),
        AddedToken("<x>", normalized=True),
        AddedToken("[x]", normalized=False),
        AddedToken("<x", normalized=False),
        AddedToken("<x><y>", normalized=False),
        AddedToken("<s_a_1> ", normalized=False),
    ],
)
def test_texts_go_whole_through_a_tokenizer_with_tokens_that_depend_on_what_is_around_them(tmp_path, token):
    folder = write_tokenizer(tmp_path)
    backend = reworked(folder)
    backend.add_tokens([token])
    backend.save(str(folder / "tokenizer.json"))
    renderer = Renderer(folder)
    assert renderer.slow_because == f"its added token {token.content!r} is not found by its own letters alone"
    for row in sample_rows(4):
        script = renderer.script_of(row)
        assert renderer.render(row).input_ids.tolist()[:-1] == whole(renderer._backend, [script.text])[0]


def test_a_turn_end_that_is_no_added_token_is_named(tokenizer_dir):
    assert why_not(reworked(tokenizer_dir), must_find="<|end|>") == "<|end|> is not one of its added tokens"


def test_the_itemic_vocabulary_is_told_from_the_tokens():
    vocab = ItemicVocab(3, 12, first_id=100)
    tokens = {token: 100 + n for n, token in enumerate(vocab.spellings())} | {"<think>": 7}
    assert itemic_vocab_of(tokens) == vocab
    assert itemic_vocab_of({"<think>": 7}) is None
    assert itemic_vocab_of(tokens | {"<s_b_3>": 7}) is None
    del tokens["<s_c_11>"]
    assert itemic_vocab_of(tokens) is None
