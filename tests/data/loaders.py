"""A prepared store, and loaders of it with small packs."""

from __future__ import annotations

from pathlib import Path

from onerec.config import DataOrder, Dataset, PrepareConfig, PreparedDataset, Vocab
from onerec.data.loading.load import PackLoader
from onerec.data.preparation.prepare import prepare
from tests.data.tokens import CODES, LAYERS

PACKS_PER_STEP = 5
MAX_LENGTH = 128


def prepared(folder: Path, sources: Path, tokenizer_dir: Path) -> str:
    prepare(
        PrepareConfig(
            output_dir=str(folder),
            tokenizer_dir=str(tokenizer_dir),
            sources=(str(sources),),
            dataset=Dataset(sources=str(sources), max_length=MAX_LENGTH),
            vocab=Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES),
        )
    )
    return str(folder)


def loader(store_dir, *, rank=0, world_size=1, packs_per_step=PACKS_PER_STEP, pad_to=None, **order):
    settings = {"max_length": MAX_LENGTH, "num_epochs": 2, "num_workers": 0, "local_shuffle_buffer_size": 50}
    datasets = (PreparedDataset(name="rows", store_dir=store_dir),)
    data = DataOrder(**{**settings, "datasets": datasets, "shuffle_seed": 7, **order})
    return PackLoader(data, rank=rank, world_size=world_size, packs_per_step=packs_per_step, pad_to=pad_to)
