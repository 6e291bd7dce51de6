"""The build_data program: a public data set becomes semantic ids and the rows of three sets.

Puts the parts together and tells about them; how each is made stands in its own file.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from onerec.build import fetch, movielens, tasks
from onerec.build.interactions import Interactions, Split, split_last
from onerec.build.rows import write_rows
from onerec.build.semantic_ids import SemanticIds, assign
from onerec.build.vectors import item_vectors
from onerec.progress import Progress
from onerec.vocab import item_text

if TYPE_CHECKING:
    from onerec.config import BuildData, BuildDataConfig, Vocab

SETS = {"pretrain": tasks.pretrain_rows, "sft": tasks.sft_rows, "test": tasks.heldout_rows}
PARTS = 3 + len(SETS)
"""Units of progress: the source, the ids, each set, and the table of items."""


def build_data(config: BuildDataConfig) -> dict[str, object]:
    """Write pretrain/, sft/, test/ and items.parquet into the output folder; returns what was made.

    Held-out events are in test/ only. The same seed and source give the same bytes. Raises DataError when the
    source cannot be found or read, ConfigError when the items do not fit into the vocabulary.
    """
    output_dir = Path(config.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    progress = Progress(output_dir, total=PARTS, unit="parts")
    found = _find(config.data)
    progress.update(1)
    split = split_last(found.interactions.histories)
    ids = semantic_ids(found.interactions, split, config=config)
    progress.update(2)
    material = _material(found.interactions, split, ids, config=config)
    rows: dict[str, Counter[str]] = {}
    for name, rows_of in SETS.items():
        rows[name] = write_rows(rows_of(material), output_dir / name)
        progress.update(2 + len(rows))
    _write_items(material, ids, output_dir / "items.parquet")
    progress.update(PARTS)
    return _summary(found, ids, rows, config.vocab)


def semantic_ids(interactions: Interactions, split: Split, *, config: BuildDataConfig) -> SemanticIds:
    """Ids of all items from their texts and the training part of the interactions."""
    rng = np.random.default_rng(config.seed)
    vectors_ND = item_vectors(interactions.items, split.train, width=config.data.item_vector_size, rng=rng)
    vocab = config.vocab
    return assign(vectors_ND, levels=vocab.itemic_layer_n, codes=vocab.vocab_size_per_layer, rng=rng)


def _find(data: BuildData) -> fetch.Found:
    found = fetch.find(data.path, cache_dir=fetch.cache_dir_of_this_process(), download=data.download)
    sys.stdout.write(f"{data.source} from {found.origin}\n{movielens.LICENCE}\n")
    sys.stdout.flush()
    return found


def _material(
    interactions: Interactions, split: Split, ids: SemanticIds, *, config: BuildDataConfig
) -> tasks.Material:
    return tasks.Material(
        items=interactions.items,
        users=interactions.users,
        split=split,
        spellings=tuple(item_text(tuple(codes)) for codes in ids.codes_NL.tolist()),
        window_items=config.data.window_items,
        history_length=config.data.history_length,
        samples_per_user=config.data.samples_per_user,
        seed=config.seed,
    )


def _write_items(material: tasks.Material, ids: SemanticIds, path: Path) -> None:
    table = pa.table(
        {
            "pid": pa.array([item.pid for item in material.items], pa.string()),
            "sid": pa.array(ids.codes_NL.tolist(), pa.list_(pa.int32())),
            "sid_text": pa.array(material.spellings, pa.string()),
            "title": pa.array([item.title for item in material.items], pa.string()),
            "year": pa.array([item.year for item in material.items], pa.int32()),
            "genres": pa.array([item.genres for item in material.items], pa.list_(pa.string())),
            "train_popularity": pa.array(material.split.popularity(len(material.items)), pa.int64()),
        }
    )
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)


def _summary(
    found: fetch.Found, ids: SemanticIds, rows: dict[str, Counter[str]], vocab: Vocab
) -> dict[str, object]:
    interactions = found.interactions
    return {
        "origin": found.origin,
        "licence": movielens.LICENCE,
        "users": len(interactions.users),
        "items": len(interactions.items),
        "events": sum(map(len, interactions.histories)),
        "repeated_events_left_out": interactions.repeats,
        "rows": {name: dict(sorted(counts.items())) for name, counts in rows.items()},
        "semantic_ids": {
            "levels": [asdict(level) for level in ids.levels],
            "collisions_before": ids.collisions,
            "collisions_after": 0,
        },
        "report": _report(found, ids, rows, vocab),
    }


def _report(found: fetch.Found, ids: SemanticIds, rows: dict[str, Counter[str]], vocab: Vocab) -> list[str]:
    interactions = found.interactions
    events = sum(map(len, interactions.histories))
    lines = [
        f"{len(interactions.users):,} users, {len(interactions.items):,} items, {events:,} events "
        f"from {found.origin}",
        movielens.LICENCE,
    ]
    lines += [
        f"level {number}: {level.codes_used} of {vocab.vocab_size_per_layer} codes used, entropy "
        f"{level.entropy_bits:.2f} bits, {level.error:.1%} of the vectors' power left"
        for number, level in enumerate(ids.levels, start=1)
    ]
    lines.append(f"{ids.collisions} colliding items moved to the nearest free code; no two items share an id")
    lines += [
        f"{name}: {sum(counts.values()):,} rows ("
        + ", ".join(f"{source} {count:,}" for source, count in sorted(counts.items()))
        + ")"
        for name, counts in rows.items()
    ]
    return lines
