from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onerec.config import Dataset, PrepareConfig, Vocab
from onerec.data.render import Renderer
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
