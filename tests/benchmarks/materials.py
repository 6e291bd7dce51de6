"""Inputs that rows share, made once and kept: the tokenizer, corpora, prepared stores.

Nothing here is timed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from pathlib import Path

import pytest

from onerec.config import Dataset, PrepareConfig, Vocab
from onerec.data.preparation.prepare import prepare
from onerec.model.itemic_tokenizer import (
    add_itemic_tokens,
    itemic_vocab,
    load_tokenizer,
    save_expanded,
)
from tests import qwen3_tokenizer
from tests.benchmarks.corpus import short_rows, write_corpus, write_rows
from tests.benchmarks.environment import ROOT, Bench, cache_folder
from tests.benchmarks.harness import Void
from tests.benchmarks.orders import MAX_LENGTH, SEED

VOCAB = Vocab(itemic_layer_n=3, vocab_size_per_layer=8192)
MILLION = 1_000_000


def tokenizer(bench: Bench) -> Path:
    """The real Qwen3 tokenizer with the itemic tokens, a folder that transformers can load."""
    return bench.kept("tokenizer", _expand_tokenizer)


def _expand_tokenizer(folder: Path) -> None:
    try:
        base = qwen3_tokenizer.folder()
    except pytest.skip.Exception as reason:
        raise Void(str(reason)) from reason
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder / name)
    expanded = load_tokenizer(folder)
    sizes = {"layer_n": VOCAB.itemic_layer_n, "size_per_layer": VOCAB.vocab_size_per_layer}
    vocab, _ = itemic_vocab(expanded, **sizes)
    add_itemic_tokens(expanded, vocab)
    save_expanded(expanded, vocab, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    if "chat_template" not in settings:  # a tokenizer that was rebuilt from its ranks has none
        shutil.copy(ROOT / "onerec/model/qwen3_chat_template.jinja", folder / "chat_template.jinja")


def corpus(bench: Bench, *, rows: int) -> Path:
    """Parquet of the corpus, 1,000 rows a file."""
    return bench.kept(f"corpus-{rows}", lambda folder: write_corpus(folder, rows=rows, seed=SEED))


def short_corpus(bench: Bench, *, rows: int = MILLION) -> Path:
    """Parquet of histories of 4 to 19 items, 1,000 rows a file: many samples that are made soon."""
    return bench.kept(f"short-{rows}", lambda folder: _write_short(folder, rows))


def _write_short(folder: Path, rows: int) -> None:
    stream = itertools.islice(short_rows(SEED), rows)
    names = [f"part-{number:05d}.parquet" for number in range(rows // 1000)]
    for name in names:
        write_rows(itertools.islice(stream, 1000), folder / name)
    (folder / "file_list.json").write_text(json.dumps(names), encoding="utf-8")


def short_store(bench: Bench, *, rows: int = MILLION) -> Path:
    """The short corpus, prepared."""
    return prepared(bench, f"short-store-{rows}", short_corpus(bench, rows=rows))


def prepared(bench: Bench, name: str, sources: Path) -> Path:
    """The store of a corpus; preparing it again costs little when it is there, and makes it fit the code."""
    folder = cache_folder() / name
    bench.tell(f"preparing {name}")
    prepare_store(folder, sources, tokenizer(bench))
    return folder


def prepare_store(folder: Path, sources: Path, tokenizer_dir: Path) -> None:
    """Prepare parquet into a store with two processes; what it tells goes nowhere."""
    config = PrepareConfig(
        output_dir=str(folder),
        tokenizer_dir=str(tokenizer_dir),
        sources=(str(sources),),
        dataset=Dataset(sources="corpus", max_length=MAX_LENGTH, num_processes=2),
        vocab=VOCAB,
    )
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        prepare(config)
