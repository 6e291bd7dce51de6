"""What a finished, and a failed, preparation leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onerec.data.preparation.commit import check_rejects
from onerec.data.preparation.prepare import prepare
from onerec.data.source.sources import find_files
from onerec.errors import DataError
from tests.data.rows import as_columns, identifier, sample_rows, text, write_rows

BAD = {**as_columns(text("x")), "source": ""}


def read(config, name):
    return (Path(config.output_dir) / name).read_text()


def test_a_failed_preparation_leaves_the_store_and_its_rejects_as_they_were(make_config, tmp_path):
    write_rows(tmp_path / "a.parquet", [*sample_rows(9), BAD])
    config = make_config(tmp_path / "a.parquet", max_reject_fraction=0.2)
    prepare(config)
    names = ("rejects.jsonl", "meta.json", "summary.json")
    before = [read(config, name) for name in names]
    write_rows(tmp_path / "a.parquet", [*sample_rows(5), BAD, BAD, {**BAD, "source": "s", "uuid": "no"}])
    with pytest.raises(DataError) as caught:
        prepare(config)
    assert [read(config, name) for name in names] == before
    failed = [json.loads(line) for line in read(config, "rejects-failed.jsonl").splitlines()]
    assert [one["row"] for one in failed] == [5, 6, 7]
    file = tmp_path / "a.parquet"
    assert str(caught.value) == (
        "3 of 8 rows were rejected, max_reject_fraction is 0.2; correct them or raise it; all of them are in "
        f"{config.output_dir}/rejects-failed.jsonl; by reason:\n  2 x source is empty"
        "\n  1 x uuid is not a valid UUID\nthe first are:"
        f'\n  {file}, row 5: source is empty: ""\n  {file}, row 6: source is empty: ""'
        f'\n  {file}, row 7: uuid is not a valid UUID: "no"'
    )


def test_what_a_failed_preparation_left_goes_when_one_succeeds(make_config, tmp_path):
    write_rows(tmp_path / "a.parquet", [*sample_rows(5), BAD])
    with pytest.raises(DataError, match=r"1 of 6 rows.*rejects-failed\.jsonl"):
        prepare(make_config(tmp_path / "a.parquet"))
    config = make_config(tmp_path / "a.parquet", max_reject_fraction=0.5)
    prepare(config)
    assert not (Path(config.output_dir) / "rejects-failed.jsonl").exists()
    assert len(read(config, "rejects.jsonl").splitlines()) == 1


@pytest.mark.parametrize(("rejected", "limit"), [(0, 0.0), (1, 0.001), (1000, 1.0)])
def test_rejects_up_to_the_limit_are_no_error(rejected, limit):
    counts = {"rows": 1000, "rejected": rejected, "rejects": {"reason": rejected}}
    check_rejects(counts, limit, rejects=Path("nowhere"))


def test_rows_with_the_same_uuid_are_kept_counted_and_shown(make_config, tmp_path, capsys):
    same = [{**as_columns(row), "uuid": identifier(7)} for row in sample_rows(3)]
    long = {**as_columns(text("abcdefg" * 20)), "uuid": identifier(8)}
    write_rows(tmp_path / "a.parquet", [*sample_rows(2), same[0], same[1], long])
    write_rows(
        tmp_path / "b.parquet", [{**same[2], "uuid": identifier(7).upper()}, {**long, "segments": None}, long]
    )
    config = make_config(
        tmp_path / "a.parquet", tmp_path / "b.parquet", max_length=100, max_reject_fraction=1
    )
    summary = prepare(config)
    a, b = str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")
    assert (summary["duplicate_uuids"], summary["rejected"]) == (3, 1)
    stored = [{"file": a, "row": 2}, {"file": a, "row": 3}, {"file": b, "row": 0}]
    assert summary["duplicate_examples"] == [
        stored[:2],
        [{"file": a, "row": 4}, {"file": b, "row": 2}],
    ]
    told = capsys.readouterr().out
    assert "3 rows with the uuid of another row, kept" in told
    assert f"the same uuid: {a}, row 2 and {a}, row 3" in told


def test_every_file_of_the_store_is_written_down_with_size_footer_and_samples(make_config, tmp_path):
    for name, count in (("a", 7), ("b", 0), ("c", 3)):
        write_rows(tmp_path / f"{name}.parquet", sample_rows(count))
    config = make_config(tmp_path, tmp_path / "a.parquet")
    summary = prepare(config)
    meta = json.loads(read(config, "meta.json"))
    found = find_files([str(tmp_path)])
    assert [(entry["file"], entry["size"], entry["footer"]) for entry in meta["files"]] == [
        (file.location, file.size, file.footer) for file in found
    ]
    assert [entry["samples"] for entry in meta["files"]] == [7, 0, 3]
    assert all((Path(config.output_dir) / "tokens" / entry["tokens"]).is_file() for entry in meta["files"])
    assert (summary["files"], summary["files_named_twice"]) == (3, 1)
    assert summary["bytes"] == sum(file.size for file in found)


def test_the_summary_adds_up(make_config, parquet_dir):
    config = make_config(parquet_dir)
    summary = prepare(config)
    for name in ("samples", "tokens", "trained_tokens", "itemic_tokens"):
        assert summary[name] == sum(counts[name] for counts in summary["sources"].values()) > 0
    index = next(Path(config.output_dir).glob("index-*"))
    assert summary["tokens"] == np.load(index / "lengths.npy").sum()
    assert summary["trained_tokens"] == np.load(index / "trained.npy").sum()
    assert sum(summary["length_histogram"].values()) == summary["samples"]
    assert summary["preparation"]["tokens_per_second"] > 0
