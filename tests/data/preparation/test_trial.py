from __future__ import annotations

from pathlib import Path

import pytest

from onerec.config import Dataset
from onerec.data.preparation.trial import candidates, check_rows, spread, try_rows
from onerec.data.source.validate import Record
from onerec.data.text.render import Renderer
from tests.data.rows import as_columns, chat, sample_rows, text, write_rows


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (10, list(range(10))), (99, list(range(10)))]
)
def test_items_are_spread_evenly(count: int, chosen: list[int]) -> None:
    assert spread(list(range(10)), count) == chosen


def test_candidates_are_the_first_rows_of_each_file_in_turn(tmp_path: Path) -> None:
    sizes = {"a": 3, "b": 1, "c": 2}
    paths = [str(write_rows(tmp_path / f"{name}.parquet", sample_rows(size))) for name, size in sizes.items()]
    found = [(Path(record.file).stem, record.row) for record in candidates(paths, files=3, rows_per_file=2)]
    assert found == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1)]


def record(row: object, number: int = 0) -> Record:
    return Record(file="f.parquet", row=number, values=as_columns(row))  # type: ignore[arg-type]


def test_each_row_is_told_whatever_becomes_of_it(renderer: Renderer) -> None:
    rows = [
        record(text("the film", number=1), 0),
        Record(file="f.parquet", row=1, values={"uuid": "no", "source": "s"}),
        record(chat(("user", "the"), number=2), 2),
        record(text("the " * 40, number=3), 3),
        record(chat(("user", "the " * 40), ("assistant", "ok"), number=4), 4),
    ]
    found = list(try_rows(rows, renderer, Dataset(sources="x", max_length=20)))
    told = [(one.record.row, len(one.samples), one.is_rejected, one.is_overlong, one.reason) for one in found]
    assert told == [
        (0, 1, False, False, ""),
        (1, 0, True, False, "uuid is not a valid UUID"),
        (2, 0, True, False, "nothing in it is trained"),
        (3, 3, False, True, ""),
        (4, 0, False, True, told[4][4]),
    ]
    assert told[4][4].endswith(" tokens, max_sample_length is 20: dropped")


def test_without_a_tokenizer_the_field_rules_are_all_there_is() -> None:
    rows = [record(text("the film", number=1)), Record(file="f.parquet", row=1, values={"source": "s"})]
    found = [(one.source, one.samples, one.is_rejected) for one in check_rows(rows)]
    assert found == [("text", (), False), ("s", (), True)]
