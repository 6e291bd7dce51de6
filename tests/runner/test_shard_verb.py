from __future__ import annotations

import json
import subprocess
import sys

import pytest

from onerec.data.source.read import rows
from runner.cli.arguments import parse
from tests.data.rows import sample_rows, write_rows


def runner(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "runner", "shard", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_relative_sources_are_merged_into_a_new_folder(tmp_path):
    for part in range(2):
        write_rows(tmp_path / "in" / f"{part}.parquet", sample_rows(30, start=30 * part))
    done = runner("in/1.parquet", "in/*.parquet", "--output", "out", "--rows-per-file", 25, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        0,
        f"1 file is named more than once in `sources` and read once: {tmp_path}/in/1.parquet\n",
    )
    assert done.stdout.startswith("shard: 60 rows of 2 files in 3 files of 25 rows in ")
    wanted = [row.uuid for row in [*sample_rows(30, start=30), *sample_rows(30)]]
    assert [row.uuid for row in rows(str(tmp_path / "out" / "file_list.json"))] == wanted
    assert json.loads((tmp_path / "out" / "result.json").read_text())["rows"] == 60


def test_a_row_that_breaks_a_rule_ends_it_with_the_code_of_data_faults(tmp_path):
    write_rows(tmp_path / "a.parquet", [*sample_rows(3), {"uuid": "none", "source": "s"}])
    done = runner("a.parquet", "--output", "out", cwd=tmp_path)
    assert done.returncode == 6
    assert "error: 1 of 4 rows break a rule" in done.stderr
    assert not (tmp_path / "out").exists()
    again = runner("a.parquet", "--output", "out", "--max-reject-fraction", 0.25, cwd=tmp_path)
    assert again.returncode == 0
    assert len((tmp_path / "out" / "rejects.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--rows-per-file", "0", "no whole number from 1 on"),
        ("--max-reject-fraction", "1.5", "no share from 0 to 1"),
        ("--max-reject-fraction", "few", "no share from 0 to 1"),
        ("--output", "s3://bucket/x", "is a URL; name a local folder"),
    ],
)
def test_a_wrong_value_is_told_before_anything_starts(option, value, told, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["shard", "in", "--output", "out", option, value])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
