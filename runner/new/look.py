"""What a model folder, data and this host tell about the manifest that would train one on the other.

Only small files, the tokenizer's vocabulary and a few rows are read. URLs are not looked at.
"""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from onerec.errors import ConfigError
from onerec.vocab import ITEMIC_PATTERN, LEVEL_NAMES, SID_END, ItemicVocab, level_token
from runner.gpus import Gpu, visible_gpus
from runner.manifest.sources import URL_SCHEMES, url_scheme
from runner.preflight.model import token_ids
from runner.sizes import VOCAB_NAME, read_config

SAMPLED_ROWS = 512
"""Rows that are looked at."""
USUAL = ItemicVocab(3, 8192, 0)
"""Sizes of OneRec's itemic vocabulary."""


@dataclass(frozen=True)
class ModelFacts:
    """A Hugging Face folder of a Qwen3."""

    folder: Path
    is_tied: bool
    layers: int
    width: int
    positions: int
    first_id: int
    """First itemic id: there already, or where an expansion puts it."""
    itemic: tuple[int, int] | None
    """Levels and codes per level of a folder that is expanded already."""
    is_told: bool
    """Whether the folder says so itself, as an expansion of ours leaves it."""


@dataclass(frozen=True)
class DataFacts:
    """A sample of the rows of a data path."""

    source: str
    files: int = 0
    rows: int = 0
    chats: int = 0
    texts: int = 0
    levels: int = 0
    """Levels of the itemic tokens that were seen; 0: none was."""
    largest_code: int = -1
    sources: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_chat(self) -> bool:
        """Whether its rows are chats, or nothing is known of them."""
        return self.chats >= self.texts


@dataclass(frozen=True)
class Facts:
    """Everything that a manifest is written from."""

    model: ModelFacts
    data: DataFacts
    gpus: tuple[Gpu, ...]


def look(model_dir: Path, source: str, *, env: Mapping[str, str]) -> Facts:
    """Look at both; raises ConfigError for a folder that is no Qwen3 and for data that is not there."""
    return Facts(look_at_model(model_dir), look_at_data(source), visible_gpus(env))


def look_at_model(folder: Path) -> ModelFacts:
    """Sizes, tie and itemic ids of a model folder; raises ConfigError when it is none."""
    config = read_config(folder)
    if not isinstance(config, dict):
        raise ConfigError(
            f"{folder} has no config.json that can be read; give a downloaded Hugging Face folder of a Qwen3"
        )
    if config.get("model_type") != "qwen3":
        raise ConfigError(f"{folder} is of type {config.get('model_type')!r}; give a folder of a Qwen3")
    try:
        ids = token_ids(folder / "tokenizer.json")
    except (OSError, ValueError) as fault:
        raise ConfigError(f"{folder}/tokenizer.json cannot be read: {fault}; download it too") from fault
    return ModelFacts(
        folder=folder,
        is_tied=bool(config.get("tie_word_embeddings", False)),
        layers=int(config.get("num_hidden_layers", 0)),
        width=int(config.get("hidden_size", 0)),
        positions=int(config.get("max_position_embeddings", 32768)),
        first_id=ids.get(level_token(0, 0), max(ids.values()) + 1),
        itemic=_itemic_sizes(ids),
        is_told=(folder / VOCAB_NAME).is_file(),
    )


def _itemic_sizes(ids: Mapping[str, int]) -> tuple[int, int] | None:
    """Levels and codes of the itemic tokens among a tokenizer's; None where there are none, or not all."""
    if level_token(0, 0) not in ids:
        return None
    layers = next(
        number
        for number in range(len(LEVEL_NAMES) + 1)
        if f"<s_{LEVEL_NAMES[number : number + 1]}_0>" not in ids
    )
    codes = next(code for code in range(len(ids) + 1) if level_token(0, code) not in ids)
    itemic = ItemicVocab(layers, codes, ids[level_token(0, 0)])
    return (layers, codes) if ids.get(SID_END) == itemic.last_id else None


def look_at_data(source: str) -> DataFacts:
    """A sample of the rows; raises ConfigError when nothing is there. A URL is taken as it is."""
    scheme = url_scheme(source)
    if scheme:
        if scheme not in URL_SCHEMES:
            known = ", ".join(f"{name}://" for name in URL_SCHEMES)
            raise ConfigError(f"{scheme}:// cannot be read; give a local path or one of {known}")
        return DataFacts(source)
    files = parquet_files(source)
    if not files:
        raise ConfigError(
            f"{source}: no parquet file is there; give a file, folder, glob or JSON list of them"
        )
    rows = list(islice(_rows(files), SAMPLED_ROWS))
    codes = [
        (text[3], text[5:-1])
        for row in rows
        for text in ITEMIC_PATTERN.findall(str(row))
        if "sid" not in text
    ]
    return DataFacts(
        source=source,
        files=len(files),
        rows=len(rows),
        chats=sum(bool(row.get("messages")) for row in rows),
        texts=sum(bool(row.get("segments")) for row in rows),
        levels=max((LEVEL_NAMES.index(level) + 1 for level, _ in codes), default=0),
        largest_code=max((int(code) for _, code in codes), default=-1),
        sources=Counter(str(row.get("source")) for row in rows),
    )


def parquet_files(source: str) -> list[Path]:
    """Local parquet files of a source, in order: a file, a folder, a glob, or a JSON list of files."""
    path = Path(source)
    if path.is_dir():
        return sorted(path.rglob("*.parquet"))
    if path.suffix == ".json" and path.is_file():
        return _listed_files(path)
    if path.is_file():
        return [path]
    return sorted(Path(name) for name in glob.glob(source, recursive=True))  # noqa: PTH207 - may be absolute


def _listed_files(path: Path) -> list[Path]:
    try:
        entries = json.loads(path.read_bytes())
    except ValueError as fault:
        raise ConfigError(f"{path} is no JSON list of paths: {fault}; write it as one") from fault
    given = entries if isinstance(entries, list) else []
    return [found for entry in given if (found := path.parent / str(entry)).is_file()]


def _rows(files: list[Path]) -> Iterator[dict[str, Any]]:
    """Rows of the first files, a few of each."""
    import pyarrow as pa  # noqa: PLC0415 - only this verb looks at rows here
    import pyarrow.parquet as pq  # noqa: PLC0415

    for path in files[:8]:
        try:
            with pq.ParquetFile(path) as file:
                known = [
                    name for name in ("source", "messages", "segments") if name in file.schema_arrow.names
                ]
                batch = next(file.iter_batches(batch_size=SAMPLED_ROWS // 4, columns=known), None)
        except (OSError, pa.ArrowException) as fault:
            raise ConfigError(f"{path} cannot be read as parquet: {fault}; mend or remove it") from fault
        if batch is not None:
            yield from batch.to_pylist()
