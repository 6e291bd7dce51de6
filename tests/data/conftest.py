from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from onerec.config import Dataset, PrepareConfig, Vocab
from onerec.data.text.render import Renderer
from onerec.model import itemic_tokenizer
from onerec.model.tokenizer import write_chat_template
from tests import qwen3_tokenizer
from tests.data.rows import sample_rows, write_rows
from tests.data.tokens import CODES, LAYERS, write_tokenizer

MakeConfig = Callable[..., PrepareConfig]


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def renderer(tokenizer_dir: Path) -> Renderer:
    return Renderer(tokenizer_dir)


@pytest.fixture
def make_config(tmp_path: Path, tokenizer_dir: Path) -> MakeConfig:
    def make(
        *sources: Path | str, tokenizer: Path = tokenizer_dir, vocab: Vocab | None = None, **dataset: object
    ):
        return PrepareConfig(
            output_dir=str(tmp_path / "prepared"),
            tokenizer_dir=str(tokenizer),
            sources=tuple(map(str, sources)),
            dataset=Dataset(sources=str(sources[0]), **{"max_length": 256, **dataset}),
            vocab=vocab or Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES),
        )

    return make


@pytest.fixture(scope="session")
def parquet_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of 40 rows."""
    folder = tmp_path_factory.mktemp("parquet")
    for part in range(3):
        rows = sample_rows(40, start=40 * part)
        write_rows(folder / f"part-{part:05d}-of-00003.parquet", rows, row_group_size=16)
    return folder


@pytest.fixture(scope="session")
def qwen3_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real Qwen3 tokenizer with three levels of 8192 itemic tokens; skips where it cannot be had."""
    folder = tmp_path_factory.mktemp("qwen3")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(qwen3_tokenizer.folder() / name, folder / name)
    base = itemic_tokenizer.load_tokenizer(folder)
    itemic, _ = itemic_tokenizer.itemic_vocab(base, layer_n=3, size_per_layer=8192)
    itemic_tokenizer.add_itemic_tokens(base, itemic)
    itemic_tokenizer.save_expanded(base, itemic, folder)
    write_chat_template(folder)
    return folder
