"""An inspection tells what preparing will meet: the truth where it can be known, estimates where not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.config import Dataset, InspectDataConfig, PrepareConfig, Vocab
from onerec.data.preparation.prepare import prepare
from onerec.inspect_data import form_of, inspect_data
from tests.data.rows import chat, sample_rows, text, write_rows
from tests.data.tokens import CODES, LAYERS, write_tokenizer

VOCAB = Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES)


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def inspected(folder: Path, tokenizer_dir: Path | None, *sources: Path, **changes: Any) -> dict[str, Any]:
    """The document that the program writes."""
    config = InspectDataConfig(
        output_dir=str(folder / "out"),
        tokenizer_dir=None if tokenizer_dir is None else str(tokenizer_dir),
        sources=tuple(map(str, sources)),
        dataset=Dataset(sources="rows", **{"max_length": 96, **changes.pop("dataset", {})}),
        vocab=VOCAB,
        **changes,
    )
    inspect_data(config)
    return json.loads((folder / "out" / "inspection.json").read_bytes())


def test_where_every_row_is_looked_at_the_figures_are_those_of_preparing(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    for part in range(3):
        write_rows(tmp_path / "rows" / f"{part}.parquet", sample_rows(40, start=40 * part), row_group_size=16)
    found = inspected(tmp_path, tokenizer_dir, tmp_path / "rows", sample_rows=120)
    summary = prepare(
        PrepareConfig(
            output_dir=str(tmp_path / "store"),
            tokenizer_dir=str(tokenizer_dir),
            sources=(str(tmp_path / "rows"),),
            dataset=Dataset(sources="rows", max_length=96, num_processes=1),
            vocab=VOCAB,
        )
    )
    assert (found["files"], found["rows"], found["row_groups"]) == (3, 120, 9)
    assert (found["sampled_rows"], found["sampled_all"]) == (120, True)
    assert (found["tokens"], found["tokens_plus_minus"]) == (summary["tokens"], 0)
    assert found["trained_share"] == summary["trained_tokens"] / summary["tokens"]
    assert found["itemic_share"] == summary["itemic_tokens"] / summary["tokens"]
    assert found["longest_sample"]["tokens"] == summary["longest_sample"]
    sources = {name: counts["tokens"] for name, counts in summary["sources"].items()}
    assert found["tokens_by_source"] == sources
    assert abs(found["packs_per_epoch"] - summary["packing"]["packs_per_epoch"]) <= 1


def test_a_sample_of_the_rows_comes_near_and_says_how_near(tmp_path: Path, tokenizer_dir: Path) -> None:
    for part in range(10):
        write_rows(tmp_path / "rows" / f"{part}.parquet", sample_rows(100, start=100 * part))
    everything = inspected(tmp_path, tokenizer_dir, tmp_path / "rows", sample_rows=1000)
    found = inspected(tmp_path, tokenizer_dir, tmp_path / "rows", sample_rows=100)
    assert (found["sampled_rows"], found["sampled_files"], found["sampled_all"]) == (100, 10, False)
    assert 0 < found["tokens_plus_minus"] < 0.2 * found["tokens"]
    assert abs(found["tokens"] - everything["tokens"]) <= found["tokens_plus_minus"]
    assert found["rows"] == everything["rows"] == 1000
    assert sum(source["row_share"] for source in found["sources"].values()) == pytest.approx(1)


def test_every_broken_file_is_counted_and_the_first_are_told(tmp_path: Path, tokenizer_dir: Path) -> None:
    write_rows(tmp_path / "rows" / "good.parquet", sample_rows(10))
    for number in range(7):
        (tmp_path / "rows" / f"bad-{number}.parquet").write_bytes(b"no parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "rows" / "columns.parquet")
    write_rows(tmp_path / "rows" / "none.parquet", [])
    found = inspected(tmp_path, tokenizer_dir, tmp_path / "rows")
    assert (found["files"], found["rows"], found["broken_files"]) == (10, 10, 8)
    assert [f"bad-{number}.parquet" in fault for number, fault in enumerate(found["broken"])] == [True] * 5
    assert found["empty_files"] == {"count": 1, "first": [str(tmp_path / "rows" / "none.parquet")]}


def test_a_file_whose_pages_are_broken_is_told_though_its_footer_is_whole(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    path = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(50), compression="none")
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(bytes(data))
    found = inspected(tmp_path, tokenizer_dir, path)
    assert (found["rows"], found["broken_files"]) == (50, 1)
    assert str(path) in found["broken"][0]


def test_rejects_are_told_by_reason_with_the_first_place(tmp_path: Path, tokenizer_dir: Path) -> None:
    bad = {"uuid": "no", "source": "s", "metadata": None, "messages": None, "segments": '["the"]'}
    silent = chat(("user", "the"), number=7)
    path = write_rows(tmp_path / "rows" / "a.parquet", [*sample_rows(5), bad, silent, bad])
    found = inspected(tmp_path, tokenizer_dir, path)
    told = [(one["reason"], one["rows"], one["row"]) for one in found["rejects"]]
    assert told == [("uuid is not a valid UUID", 2, 5), ("nothing in it is trained", 1, 6)]
    assert found["rejected_rows"] == 3
    assert {one["file"] for one in found["rejects"]} == {str(path)}


def test_rows_that_are_too_long_are_counted_apart_from_rejects(tmp_path: Path, tokenizer_dir: Path) -> None:
    rows = [*sample_rows(5), text("the " * 200, number=9), chat(("user", "x"), ("assistant", "y" * 200))]
    found = inspected(tmp_path, tokenizer_dir, write_rows(tmp_path / "a.parquet", rows))
    assert (found["overlong_rows"], found["rejected_rows"]) == (2, 0)
    assert (found["overlong"]["row"], found["longest_sample"]["tokens"]) == (5, 96)


@pytest.mark.parametrize("usable", [None, "empty"])
def test_without_a_usable_tokenizer_all_but_tokens_is_told(tmp_path: Path, usable: str | None) -> None:
    (tmp_path / "empty").mkdir()
    path = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(12))
    found = inspected(tmp_path, tmp_path / usable if usable else None, path)
    assert (found["rows"], set(found["sources"])) == (12, {"chat", "s0", "s1"})
    assert "tokens" not in found
    assert bool(found["tokenizer_fault"]) == bool(usable)


def test_differing_schemas_are_told_with_their_files(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows" / "a.parquet", sample_rows(3))
    write_rows(tmp_path / "rows" / "b.parquet", sample_rows(3), use_dictionary=True)
    nested = [{"uuid": "u", "source": "s", "segments": [{"type": "text", "text": "the"}]}]
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "rows" / "c.parquet")
    found = inspected(tmp_path, None, tmp_path / "rows")
    written = "messages as JSON text, segments as JSON text, metadata as JSON text"
    told = [
        (one["schema"], one["count"], [Path(name).name for name in one["first"]]) for one in found["schemas"]
    ]
    assert told == [(written, 2, ["a.parquet", "b.parquet"]), ("segments nested", 1, ["c.parquet"])]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (pa.string(), "messages as JSON text"),
        (pa.large_string(), "messages as JSON text"),
        (pa.dictionary(pa.int32(), pa.string()), "messages as JSON text"),
        (pa.list_(pa.struct({"role": pa.string()})), "messages nested"),
        (pa.int64(), "messages as int64"),
    ],
)
def test_the_form_of_a_column_is_what_readers_care_about(kind: pa.DataType, form: str) -> None:
    assert form_of(f"uuid: string\nmessages: {kind}") == form


def test_sources_that_lead_nowhere_are_told_and_do_not_stop_it(tmp_path: Path, tokenizer_dir: Path) -> None:
    path = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(3))
    found = inspected(tmp_path, tokenizer_dir, tmp_path / "gone", path)
    assert (len(found["source_faults"]), found["files"], found["rows"]) == (1, 1, 3)
    assert str(tmp_path / "gone") in found["source_faults"][0]
