"""What a build has written, read back."""

import json
import re

import pyarrow.parquet as pq

from onerec.config import OUTPUTS

ITEM = re.compile(r"<\|sid_begin\|>.*?<\|sid_end\|>")


def rows_of(folder):
    """Rows of one folder, metadata read from its JSON."""
    listed = json.loads((folder / "file_list.json").read_text(encoding="utf-8"))
    return [
        row | {"metadata": json.loads(row["metadata"])}
        for name in listed
        for row in pq.read_table(folder / name).to_pylist()
    ]


def text_of(row):
    return row["messages"] or row["segments"]


def tree(folder):
    """Bytes of every file that the same seed makes the same."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "progress.json"
    }


def items_of(output_dir):
    return pq.read_table(output_dir / "items.parquet").to_pylist()


def all_rows(output_dir):
    return [row for name in OUTPUTS for row in rows_of(output_dir / name)]
