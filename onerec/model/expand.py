"""The expand_vocab program: itemic tokens for any Qwen3 folder, in tokenizer, embedding and head.

Rows of existing tokens stay bit-identical, and every row after them is drawn anew, also where the base table
was padded. Weights are streamed; no more than a few thousand rows and one covariance are in memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from onerec.errors import ConfigError
from onerec.folder import whole_folder
from onerec.model import hf_folder
from onerec.model.hf_folder import EMBEDDING, HEAD
from onerec.model.itemic_tokenizer import add_itemic_tokens, itemic_vocab, load_tokenizer, save_expanded
from onerec.model.row_normal import measure
from onerec.model.tensor_file import Growth, Stored, copy_tensors, stored_tensors
from onerec.progress import Progress
from onerec.vocab import ItemicVocab

if TYPE_CHECKING:
    from onerec.config import ExpandVocabConfig

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


@dataclass(frozen=True)
class Table:
    """The embedding or the head, and the file that holds it."""

    name: str
    file: Path
    stored: Stored


@dataclass(frozen=True)
class Base:
    """The folder that is expanded, as far as it matters here."""

    folder: Path
    config: dict[str, Any]
    files: tuple[Path, ...]
    tables: tuple[Table, ...]
    """The embedding, and the head if it is a table of its own."""
    dropped: frozenset[str]
    """A tied model's stored copy of its head: nobody reads it, and it would keep the old size."""

    @property
    def rows(self) -> int:
        """Rows of the embedding, padding included."""
        return self.tables[0].stored.shape[0]

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding."""
        return len(self.tables) == 1


def expand_vocab(config: ExpandVocabConfig) -> dict[str, object]:
    """Write <output_dir>/model: the base model with itemic tokens; returns the id range and sizes.

    A base that has exactly these tokens is copied as it is. Raises ConfigError when the folder is incomplete,
    of another class, or has other itemic tokens; StorageError when a weight file is damaged.
    """
    output_dir = Path(config.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    base = _load_base(Path(config.base_model_dir), model_class=config.model_class)
    tokenizer = load_tokenizer(base.folder)
    vocab, expanded = itemic_vocab(
        tokenizer, layer_n=config.vocab.itemic_layer_n, size_per_layer=config.vocab.vocab_size_per_layer
    )
    _check_rows(base, vocab, expanded=expanded)
    rows = base.rows if expanded else _rows_after(base, vocab, alignment=config.vocab.alignment)
    with whole_folder(output_dir / "model") as folder:
        left_behind = _carry_files(base.folder, folder)
        if not expanded:
            add_itemic_tokens(tokenizer, vocab)
            save_expanded(tokenizer, vocab, folder)
            hf_folder.write_json(folder / hf_folder.CONFIG_NAME, base.config | {"vocab_size": rows})
        _write_weights(
            config, base, folder, growths={} if expanded else _growths(base, vocab, rows, config.seed)
        )
        hf_folder.write_json(folder / hf_folder.VOCAB_NAME, _range_document(vocab, rows))
    return _summary(config, base, vocab, rows=rows, expanded=expanded, left_behind=left_behind)


def _load_base(folder: Path, *, model_class: str) -> Base:
    config = hf_folder.read_json(folder / hf_folder.CONFIG_NAME)
    hf_folder.check_class(folder, config, model_class=model_class)
    files = hf_folder.weight_files(folder)
    tables = {
        name: Table(name, file, stored)
        for file in files
        for name, stored in stored_tensors(file).items()
        if name in {EMBEDDING, HEAD}
    }
    tied = bool(config.get("tie_word_embeddings", False))
    wanted = (EMBEDDING,) if tied else (EMBEDDING, HEAD)
    missing = [name for name in wanted if name not in tables]
    if missing:
        raise ConfigError(
            f"{folder} has no {' and no '.join(missing)}, and tie_word_embeddings is {str(tied).lower()}; "
            "give a Hugging Face folder of a whole model"
        )
    return Base(
        folder, config, files, tuple(tables[name] for name in wanted), frozenset({HEAD} if tied else ())
    )


def _check_rows(base: Base, vocab: ItemicVocab, *, expanded: bool) -> None:
    """Raise ConfigError unless every token has a row in every table, in numbers that can be drawn."""
    needed = vocab.last_id + 1 if expanded else vocab.first_id
    for table in base.tables:
        rows, dtype = table.stored.shape[0], table.stored.dtype
        if rows < needed:
            raise ConfigError(
                f"{table.file}: {table.name} has {rows:,} rows for a tokenizer of {needed:,} tokens; "
                "the folder's tokenizer and weights do not belong together: give one that is whole"
            )
        if rows != base.rows:
            raise ConfigError(
                f"{table.file}: {table.name} has {rows:,} rows, the embedding {base.rows:,}; "
                "give a whole model"
            )
        if dtype not in DTYPES:
            raise ConfigError(f"{table.file}: {table.name} is {dtype}; give a model in {', '.join(DTYPES)}")


def _rows_after(base: Base, vocab: ItemicVocab, *, alignment: int) -> int:
    """The aligned vocabulary, but never fewer rows than the base has."""
    return max(vocab.aligned_size(alignment), -(-base.rows // alignment) * alignment)


def _growths(base: Base, vocab: ItemicVocab, rows: int, seed: int) -> dict[str, Growth]:
    """How each table grows; only rows of real tokens are measured, never the padding."""
    growths = {}
    for table in base.tables:
        normal = measure(table.file, table.name, rows=vocab.first_id)
        draw = partial(
            normal.draw, rows - vocab.first_id, dtype=DTYPES[table.stored.dtype], seed=seed, name=table.name
        )
        growths[table.name] = Growth(kept_rows=vocab.first_id, rows=rows, new_rows=draw)
    return growths


def _carry_files(base: Path, folder: Path) -> list[str]:
    carried, left_behind = hf_folder.carried_files(base)
    for path in carried:
        shutil.copyfile(path, folder / path.name)
    return left_behind


def _write_weights(
    config: ExpandVocabConfig, base: Base, folder: Path, *, growths: Mapping[str, Growth]
) -> None:
    """Every weight file under its own name, and the index if there is one.

    An expanded base keeps even a tied copy of the head: nothing of it changes.
    """
    progress = Progress(Path(config.output_dir), total=len(base.files), unit="files")
    dropped = base.dropped if growths else frozenset[str]()
    total = 0
    for number, file in enumerate(base.files, start=1):
        if growths:
            total += copy_tensors(file, folder / file.name, growths=growths, dropped=dropped)
        else:
            shutil.copyfile(file, folder / file.name)
        progress.update(number)
    if growths and (folder / hf_folder.INDEX_NAME).exists():
        _rewrite_index(folder / hf_folder.INDEX_NAME, total=total, dropped=dropped)


def _rewrite_index(path: Path, *, total: int, dropped: frozenset[str]) -> None:
    index = hf_folder.read_json(path)
    index["metadata"] = {**index.get("metadata", {}), "total_size": total}
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if name not in dropped}
    hf_folder.write_json(path, index)


def _range_document(vocab: ItemicVocab, rows: int) -> dict[str, int]:
    return {
        "itemic_layer_n": vocab.layer_n,
        "vocab_size_per_layer": vocab.size_per_layer,
        "first_id": vocab.first_id,
        "last_id": vocab.last_id,
        "vocab_size": rows,
    }


def _summary(
    config: ExpandVocabConfig,
    base: Base,
    vocab: ItemicVocab,
    *,
    rows: int,
    expanded: bool,
    left_behind: list[str],
) -> dict[str, object]:
    model_dir = Path(config.output_dir) / "model"
    new = 0 if expanded else rows - vocab.first_id
    report = [
        f"already expanded: {base.folder} has ids {vocab.first_id} to {vocab.last_id}; copied unchanged"
        if expanded
        else f"itemic ids {vocab.first_id} to {vocab.last_id}, {rows:,} rows ({new:,} new) in {model_dir}"
    ]
    if left_behind:
        report.append(f"not carried over from {base.folder}: {', '.join(left_behind)}")
    return {
        **_range_document(vocab, rows),
        "model_dir": str(model_dir),
        "already_expanded": expanded,
        "new_rows": new,
        "tied": base.tied,
        "report": report,
    }
