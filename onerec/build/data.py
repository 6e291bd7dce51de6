"""The build_data program: raw interactions become semantic ids, rows for training and held-out questions.

Puts the parts together and tells about them; how each is made stands in its own file.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from onerec.build.ids.semantic_ids import SemanticIds, make_ids
from onerec.build.outputs import write_items, write_user_histories
from onerec.build.rows import write_tables
from onerec.build.sources.fetch import cache_dir_of_this_process
from onerec.build.sources.find import Found, find
from onerec.build.split import Split, split_of
from onerec.build.summary import Made, summary
from onerec.build.tasks.folders import tables_of_folders, unfed_tasks
from onerec.build.tasks.material import Material
from onerec.build.tasks.templates import load_templates
from onerec.config import OUTPUTS, BuildDataConfig
from onerec.progress import Progress, say
from onerec.vocab import item_text

PARTS = 3 + len(OUTPUTS)
"""Units of progress: the source, the ids, each folder of rows, and the tables beside them."""


def build_data(config: BuildDataConfig) -> dict[str, object]:
    """Write the folders of OUTPUTS, items.parquet, histories.parquet and codebooks/; returns what was made.

    Held-out events are in validation/, test/, test_tasks/ and histories.parquet only. The same seed and
    source give the same bytes. Raises DataError when the source cannot be found or read or is against the
    policy, ConfigError for templates with faults and when the items do not fit into the vocabulary.
    """
    output_dir = Path(config.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    progress = Progress(output_dir, total=PARTS, unit="parts")
    load_templates(config.data)  # faults in them are told before anything is downloaded
    found = find(config.data, cache_dir=cache_dir_of_this_process())
    _tell_origin(found)
    progress.update(1)
    split = split_of(found.interactions, config.data)
    ids = make_ids(
        found.interactions,
        split,
        data=config.data,
        vocab=config.vocab,
        seed=config.seed,
        folder=output_dir,
    )
    progress.update(2)
    material = material_of(found, split, ids, config=config)
    unfed = unfed_tasks(material)
    began = time.perf_counter()
    rows = _write_rows(material, unfed, output_dir, progress)
    seconds = time.perf_counter() - began
    write_items(material, np.asarray(ids.codes_NL), output_dir / "items.parquet", vocab=config.vocab)
    write_user_histories(found.interactions, split, output_dir / "histories.parquet")
    progress.update(PARTS)
    return summary(
        found, material, Made(ids=ids, rows=rows, unfed=unfed, seconds=seconds), vocab=config.vocab
    )


def material_of(found: Found, split: Split, ids: SemanticIds, *, config: BuildDataConfig) -> Material:
    """All that rows are made of."""
    spelled = (item_text(tuple(codes)) for codes in ids.codes_NL.tolist())
    return Material(
        interactions=found.interactions,
        split=split,
        spelled_N=pa.array(spelled, pa.string()),
        templates=load_templates(config.data, domain=found.domain),
        data=config.data,
        seed=config.seed,
    )


def _tell_origin(found: Found) -> None:
    say(f"interactions from {found.origin}" + (f"\n{found.licence}" if found.licence else ""))


def _write_rows(
    material: Material, unfed: dict[str, str], output_dir: Path, progress: Progress
) -> dict[str, Counter[str]]:
    """Rows of each folder by source."""
    tasks = [task for task in material.data.tasks if task not in unfed]
    rows: dict[str, Counter[str]] = {}
    began, written = time.perf_counter(), 0

    def told(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        nonlocal written
        for table in tables:
            yield table
            written += table.num_rows
            pace = written / max(time.perf_counter() - began, 1e-9)
            progress.update(2 + len(rows), rows=written, rows_per_second=round(pace))

    for name, tables in tables_of_folders(material, tasks).items():
        rows[name] = write_tables(told(tables), output_dir / name)
    return rows
