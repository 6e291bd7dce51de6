"""Preparing a file takes memory for a row group of it, not for the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.config import dump_config
from tests.data.rows import TEXT_COLUMNS, as_columns, text

REPOSITORY = Path(__file__).parents[3]
GROUPS, ROWS_PER_GROUP, CHARACTERS = 32, 200, 50_000
MEGABYTE = 1 << 20
PROGRAM = """
import json, pathlib, resource, sys
from onerec.config import load_config
from onerec.data.preparation import prepare
from onerec.data.source import read
if sys.argv[2] == "all at once":
    import pyarrow.parquet as pq
    from onerec.data.preparation import write
    def records(location):
        table = pq.read_table(location)
        rows = table.to_pylist()
        return iter([read.Record(file=location, row=row, values=values) for row, values in enumerate(rows)])
    write.records = records
prepare.prepare(load_config(pathlib.Path(sys.argv[1])))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
"""


def write_groups(path, groups):
    """A file of row groups of 10 MB of text each, which compresses to almost nothing."""
    with pq.ParquetWriter(path, TEXT_COLUMNS, compression="zstd") as writer:
        for group in range(groups):
            rows = [
                as_columns(text("<s_a_1><s_b_2><s_c_3>" * (CHARACTERS // 21), number=group * 1000 + row))
                for row in range(ROWS_PER_GROUP)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=TEXT_COLUMNS))
    return path


def peak_memory(config, folder, how):
    """Bytes that a process that prepares has had at most."""
    (folder / "config.json").write_text(dump_config(config))
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "config.json"), how],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return int(json.loads(ended.stdout.splitlines()[-1]))


def test_the_memory_of_a_large_file_is_that_of_its_row_groups(make_config, tmp_path):
    def peak(groups, how):
        path = write_groups(tmp_path / f"{groups}.parquet", groups)
        config = make_config(path, max_length=32768)
        folder = tmp_path / how / str(groups)
        return peak_memory(config.model_copy(update={"output_dir": str(folder)}), tmp_path, how)

    one_group = peak(1, "row group by row group")
    assert GROUPS * ROWS_PER_GROUP * CHARACTERS > 300 * MEGABYTE
    assert peak(GROUPS, "row group by row group") - one_group < 100 * MEGABYTE
    # the measure itself: it sees a reader that takes the whole file
    assert peak(GROUPS, "all at once") - one_group > 150 * MEGABYTE
