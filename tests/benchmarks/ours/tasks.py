"""Rows of made-up users, by columns or one by one; time and memory are of making and writing them."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from onerec.build.interactions import Interactions, Item, User
from onerec.build.rows import write_rows, write_tables
from onerec.build.split import leave_last_out
from onerec.build.tasks.folders import tables_of_folders, unfed_tasks
from onerec.build.tasks.material import Material
from onerec.build.tasks.templates import load_templates
from onerec.config import BuildData
from onerec.vocab import item_text
from tests.benchmarks import rowwise
from tests.benchmarks.peak import measured

ITEMS, EACH, CODES = 10_000, 20, 64
DATA = BuildData(
    interactions="events", items="items", positive_rating=4, samples_per_user=2, validation=False
)


def made_up(users):
    """Every user meets 20 items and rates them."""
    draw = np.random.default_rng(1)
    found = Interactions(
        items=tuple(
            Item(
                str(n), f"Thing number {n}", 1980 + n % 40, ("A", "B", "C")[: n % 3 + 1], "Some words. " * 10
            )
            for n in range(ITEMS)
        ),
        users=tuple(User(str(user)) for user in range(users)),
        offsets_U1=np.arange(users + 1) * EACH,
        items_E=draw.integers(0, ITEMS, users * EACH).astype(np.int32),
        times_E=np.tile(np.arange(EACH), users),
        ratings_E=draw.integers(1, 6, users * EACH).astype(np.float32),
    )
    spelled = [item_text((n % CODES, n // CODES % CODES, n // CODES**2)) for n in range(ITEMS)]
    return Material(
        found, leave_last_out(found, validation=False), pa.array(spelled), load_templates(DATA), DATA, 1
    )


def main():
    given = json.loads(sys.argv[1])
    material = made_up(given["users"])
    unfed_tasks(material)  # makes the columns that there are once, as large as the data itself
    assert len(material.uids) == given["users"]
    with tempfile.TemporaryDirectory() as scratch:
        write = {"all": write_all, "columns": write_columns, "rows": write_by_row}[given["by"]]
        rows, seconds, peak = measured(lambda: write(material, Path(scratch)))
        digest = hashlib.sha256()
        for path in sorted(Path(scratch).rglob("*.parquet")):
            digest.update(path.read_bytes())
    print(json.dumps({"rows": rows, "seconds": seconds, "bytes": peak, "digest": digest.hexdigest()}))


def write_all(material, folder):
    """Rows of every task that the data can feed."""
    unfed = unfed_tasks(material)
    return _written(material, [task for task in DATA.tasks if task not in unfed], folder)


def write_columns(material, folder):
    """Rows of the tasks that `rowwise` has."""
    return _written(material, rowwise.TASKS, folder)


def write_by_row(material, folder):
    """The same, one by one."""
    rows = rowwise.rows_of_folders(material)
    return sum(write_rows(made, folder / name).total() for name, made in rows.items())


def _written(material, tasks, folder):
    folders = tables_of_folders(material, tasks)
    return sum(write_tables(tables, folder / name).total() for name, tables in folders.items())


if __name__ == "__main__":
    main()
