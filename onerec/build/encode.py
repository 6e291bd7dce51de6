"""The program encode_items: new items get ids by the codebooks of a build; the others keep theirs.

An id that an item has already is never given again. Nothing of the build's folder is changed.

Shapes: N new items, M items that have ids, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from onerec.build.ids.residual import Coded, coded
from onerec.build.ids.stored import load_codebooks
from onerec.build.ids.vectors import Given
from onerec.build.interactions import Float32, Int64, Item
from onerec.build.sources.oddities import EXAMPLES, Oddities
from onerec.build.sources.tables import read_items
from onerec.errors import StorageError
from onerec.items.item_map import load_item_map
from onerec.progress import sync_directory
from onerec.vocab import item_text

if TYPE_CHECKING:
    from onerec.config import EncodeItemsConfig


@dataclass(frozen=True)
class Known:
    """Items that have ids."""

    pids: frozenset[str]
    codes_ML: Int64


def encode_items(config: EncodeItemsConfig) -> dict[str, object]:
    """Write the file `target` with pid, sid, sid_text and title of the new items; returns what was done.

    Items that have an id already are told and left out. Raises ConfigError for places that do not hold what
    they should and when there are not enough ids left, DataError for a table with faults, StorageError when
    the target cannot be written.
    """
    books = load_codebooks(Path(config.built_dir))
    levels, codes = len(books.books), books.books[0].size
    paths = [Path(config.built_dir, "items.parquet"), *map(Path, config.encoded_before)]
    known = _known(paths, levels=levels, codes=codes)
    oddities, given = Oddities(config.items), isinstance(books.vectoriser, Given)
    items, embeddings_ND = _new_items(config, known, oddities, with_embeddings=given)
    oddities.raise_faults()
    vectors_ND = books.vectoriser.of_new(items, embeddings_ND)
    found = coded(
        vectors_ND, lambda level, _: books.books[level], levels=levels, codes=codes, taken_ML=known.codes_ML
    )
    _write(items, found.codes_NL, Path(config.target))
    wordless = int((~vectors_ND.any(axis=1)).sum()) if len(items) else 0
    return _summary(config, items, found, known, oddities, wordless)


def _known(paths: Sequence[Path], *, levels: int, codes: int) -> Known:
    maps = [load_item_map(path, layer_n=levels, size_per_layer=codes) for path in paths]
    return Known(
        pids=frozenset(pid for one in maps for pid in one.pids),
        codes_ML=np.concatenate([one.codes_NL for one in maps]).astype(np.int64),
    )


def _new_items(
    config: EncodeItemsConfig, known: Known, oddities: Oddities, *, with_embeddings: bool
) -> tuple[tuple[Item, ...], Float32 | None]:
    """Items without an id, each once, and their given vectors."""
    items, embeddings_ND = read_items(
        config.items, config.columns, with_embeddings=with_embeddings, oddities=oddities
    )
    first = {item.pid: place for place, item in reversed(list(enumerate(items)))}
    again = [item.pid for place, item in enumerate(items) if first[item.pid] != place]
    there = [pid for pid in first if pid in known.pids]
    _tell(oddities, again, "rows about an item that an earlier row describes", "the first counts")
    _tell(oddities, sorted(there), "items that have an id already", "it stays; left out")
    new = sorted(place for pid, place in first.items() if pid not in known.pids)
    vectors = None if embeddings_ND is None else embeddings_ND[new]
    return tuple(items[place] for place in new), vectors


def _tell(oddities: Oddities, pids: Sequence[str], what: str, then: str) -> None:
    if pids:
        some = ", ".join(pids[:EXAMPLES]) + (", ..." if len(pids) > EXAMPLES else "")
        oddities.note(f"{what}: {len(pids):,} ({some}); {then}")


def _write(items: Sequence[Item], codes_NL: Int64, target: Path) -> None:
    table = pa.table(
        {
            "pid": pa.array([item.pid for item in items], pa.string()),
            "sid": pa.array(codes_NL.tolist(), pa.list_(pa.int32())),
            "sid_text": pa.array([item_text(tuple(codes)) for codes in codes_NL.tolist()], pa.string()),
            "title": pa.array([item.title for item in items], pa.string()),
        }
    )
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, temporary)
        temporary.replace(target)
        sync_directory(target.parent)
    except OSError as fault:
        raise StorageError(f"{target} cannot be written ({fault}); name another target") from fault


def _summary(
    config: EncodeItemsConfig,
    items: Sequence[Item],
    found: Coded,
    known: Known,
    oddities: Oddities,
    wordless: int,
) -> dict[str, object]:
    lines = [
        f"{len(items):,} new items have ids, beside {len(known.codes_ML):,} that had one; "
        f"no two share one; written to {config.target}"
    ]
    if items:
        lines.append(
            f"{found.errors[-1]:.1%} of their vectors' power left; {found.collisions:,} moved to the nearest "
            "free code of the last level"
        )
    if wordless:
        lines.append(
            f"{wordless:,} of them have no word that the build knows: their ids tell nothing about them"
        )
    return {
        "new_items": len(items),
        "known_items": len(known.codes_ML),
        "collisions_before": found.collisions,
        "error": found.errors[-1],
        "without_known_words": wordless,
        "remarks": list(oddities.remarks),
        "report": [*lines, *oddities.remarks],
    }
