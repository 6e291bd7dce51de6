"""A prepared store with the corpus's lengths, sources and shares of itemic and trained tokens, and drawn ids.

A GPU that is lent has no tokenizer, so tokens are estimated: five for an item, 1.3 for an English word, 0.65
for a Chinese character. Everything after that is real: store, plan, loader, workers.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from onerec.config import DataOrder, PreparedDataset
from onerec.data.loading.batch import Pack
from onerec.data.loading.load import PackLoader
from onerec.data.preparation.columns import SCHEMA, Sample, columns_of, trained_tokens, uuid_hashes
from onerec.data.preparation.index import Index, save_index
from onerec.data.source.validate import Row
from onerec.data.store.store import FORMAT, StorePaths
from onerec.data.text.render import Rendered
from onerec.vocab import ItemicVocab
from tests.benchmarks.corpus import Cells, corpus_rows
from tests.benchmarks.gpu_rows.sizes import Sizes
from tests.benchmarks.orders import SEED

ITEM = re.compile(r"<\|sid_begin\|>.*?<\|sid_end\|>")
ITEM_TOKENS, WORD_TOKENS, CHINESE_TOKENS = 5, 1.3, 0.65
TURN_TOKENS = 5
"""What a chat template puts around a message."""
EPOCHS = 4
"""More than any row reads."""
SOURCES = ("history", "general", "chat_zh", "chat_en")


@dataclass(frozen=True)
class Length:
    """Tokens of a piece of text."""

    itemic: int
    text: int

    @classmethod
    def of(cls, text: str) -> Length:
        """An estimate that needs no tokenizer."""
        prose = ITEM.sub(" ", text)
        chinese = sum(character > "\u2e80" for character in prose)
        words = len(re.findall(r"[!-~]+", prose))
        items = len(ITEM.findall(text))
        return cls(ITEM_TOKENS * items, 1 + round(WORD_TOKENS * words + CHINESE_TOKENS * chinese))


def write_store(folder: Path, sizes: Sizes) -> Path:
    """Write the store of `sizes.corpus_rows` rows; returns its folder."""
    paths = StorePaths(folder)
    paths.tokens.mkdir(parents=True)
    samples = list(_samples(sizes))
    itemic = _itemic_ids(sizes)
    batch, _ = columns_of(samples, itemic, len(SOURCES))
    with pa.ipc.new_file(str(paths.tokens / "drawn.arrow"), SCHEMA) as writer:
        writer.write_batch(batch)
    save_index(_index(samples), paths.index("drawn"))
    meta = {
        "format": FORMAT,
        "key": "drawn",
        "fingerprint": f"drawn-{sizes.name}",
        "options": {"itemic_ids": itemic},
        "sources": SOURCES,
        "pad_id": 0,
        "document_end_id": 1,
        "files": [{"file": "drawn.parquet", "tokens": "drawn.arrow", "size": 0, "footer": "drawn"}],
    }
    paths.meta.write_text(json.dumps(meta), encoding="utf-8")
    return folder


def data_order(store: Path, sizes: Sizes, *, num_workers: int) -> DataOrder:
    """The store as a stage reads it, often enough for any number of steps that a row takes."""
    return DataOrder(
        datasets=(PreparedDataset(name="drawn", store_dir=str(store)),),
        max_length=sizes.max_length,
        num_epochs=EPOCHS,
        num_workers=num_workers,
        local_shuffle_buffer_size=100_000,
        shuffle_seed=SEED,
    )


def loader(store: Path, sizes: Sizes, *, num_workers: int) -> PackLoader:
    """One pack a step for one rank, padded as it is on a GPU."""
    order = data_order(store, sizes, num_workers=num_workers)
    return PackLoader(order, rank=0, world_size=1, packs_per_step=1, pad_to=sizes.max_length)


def packs(store: Path, sizes: Sizes, *, count: int) -> list[Pack]:
    """The first packs of the store, in memory."""
    steps = itertools.islice(iter(loader(store, sizes, num_workers=0)), count)
    return [pack for step in steps for pack in step.packs]


def _itemic_ids(sizes: Sizes) -> tuple[int, int]:
    vocab = sizes.vocab
    ids = ItemicVocab(vocab.itemic_layer_n, vocab.vocab_size_per_layer, sizes.first_itemic_id)
    return ids.first_id, ids.last_id


def _samples(sizes: Sizes) -> Iterator[Sample]:
    draw = np.random.default_rng(SEED)
    first, last = _itemic_ids(sizes)
    for number, cells in enumerate(itertools.islice(corpus_rows(SEED), sizes.corpus_rows)):
        kinds, spans = _shape(cells)
        kinds = kinds[: sizes.max_item_tokens]
        limit = len(kinds)
        ids = np.where(kinds, draw.integers(first, last + 1, limit), draw.integers(2, first, limit))
        ids[-1] = 1
        kept = [(start, min(end, limit)) for start, end in spans if start < limit]
        row = Row(str(cells["uuid"]), str(cells["source"]), None, (), {}, "drawn.parquet", number)
        yield Sample(row, Rendered(ids.astype(np.int32), kept), SOURCES.index(row.source))


def _shape(cells: Cells) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Which tokens of a row are itemic, and the spans that are trained."""
    if cells["segments"]:
        text = "".join(segment["text"] for segment in json.loads(cells["segments"]))
        kinds = _kinds(Length.of(text))
        return kinds, [(0, len(kinds))]
    parts, spans, at = [], [], 0
    for message in json.loads(cells["messages"] or "[]"):
        part = np.concatenate([np.zeros(TURN_TOKENS, bool), _kinds(Length.of(message["content"]))])
        if message["role"] == "assistant":
            spans.append((at + TURN_TOKENS, at + len(part)))
        parts.append(part)
        at += len(part)
    return np.concatenate(parts), spans


def _kinds(length: Length) -> np.ndarray:
    return np.arange(length.itemic + length.text) < length.itemic


def _index(samples: list[Sample]) -> Index:
    borders = [[border for span in sample.rendered.spans for border in span] for sample in samples]
    offsets = np.cumsum([0, *map(len, borders)])
    return Index(
        lengths=np.array([len(sample.rendered.input_ids) for sample in samples], np.int32),
        trained=trained_tokens(np.array(list(itertools.chain(*borders)), np.int32), offsets).astype(np.int32),
        sources=np.array([sample.source for sample in samples], np.int32),
        uuid_hashes=uuid_hashes([sample.row.uuid for sample in samples]),
        file_starts=np.array([0, len(samples)]),
    )
