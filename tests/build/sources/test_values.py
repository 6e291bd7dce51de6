"""Columns of every type to what they mean, case by case."""

from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from onerec.build.sources import values
from onerec.build.sources.gather import NO_TIME
from onerec.build.sources.oddities import Oddities, Rows
from onerec.build.sources.read_table import MIXED
from onerec.build.sources.values import IdKinds, Misfits, Times, Vectors

NOON = 1_700_000_000  # 2023-11-14 22:13:20 UTC
MOMENT = datetime(2023, 11, 14, 22, 13, 20)
EAST = timezone(timedelta(hours=8))


def misfits():
    return Misfits(Rows(["t"], [0]))


def seconds(*columns):
    """Seconds, remarks and faults of a column in batches."""
    times, first_row = Times(misfits()), 0
    for column in columns:
        times.add(column, first_row)
        first_row += len(column)
    oddities = Oddities("here")
    found = times.seconds("when", oddities).tolist()
    return [None if time == NO_TIME else time for time in found], oddities, times.misfits


@pytest.mark.parametrize(
    "column",
    [
        pa.array([NOON, None]),
        pa.array([NOON, None], pa.int32()),
        pa.array([NOON + 0.9, None]),
        pa.array([NOON + 0.9, float("nan")]),
        pa.array([f"{NOON}", None]),
        pa.array([f" +{NOON}.00 ", ""]),
        pa.array([MOMENT, None], pa.timestamp("s")),
        pa.array([MOMENT, None], pa.timestamp("ns")),
        pa.array([MOMENT.replace(tzinfo=timezone.utc), None], pa.timestamp("us", "Asia/Shanghai")),
        pa.array(["2023-11-14 22:13:20", None]),
        pa.array(["2023-11-14T22:13:20Z", None]),
        pa.array(["2023-11-15T06:13:20+08:00", None]),
        pa.array(["2023-11-14 22:13:20.750", None]),
    ],
    ids=str,
)
def test_a_time_is_the_same_however_it_is_written(column):
    found, oddities, odd = seconds(column)
    assert (found, oddities.remarks, oddities.faults, odd.count) == ([NOON, None], [], [], 0)


@pytest.mark.parametrize("column", [pa.array([date(2023, 11, 14)]), pa.array(["2023-11-14"])], ids=str)
def test_a_date_is_its_first_second(column):
    assert seconds(column)[0] == [NOON - (22 * 60 + 13) * 60 - 20]


def test_times_with_and_without_a_zone_stand_side_by_side():
    column = pa.array(["2023-11-14 22:13:20", "2023-11-14T22:13:20Z", "2023-11-15T06:13:20+08:00"])
    assert seconds(column)[0] == [NOON] * 3


@pytest.mark.parametrize(
    ("per_second", "unit"), [(10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")]
)
def test_smaller_units_are_recognised_by_their_size_and_told(per_second, unit):
    found, oddities, _ = seconds(pa.array([NOON * per_second + 1, None]), pa.array([(NOON + 5) * per_second]))
    assert found == [NOON, None, NOON + 5]
    assert oddities.remarks == [f"times in 'when' are so large that they are read as {unit}"]


def test_two_units_in_one_column_are_refused():
    _, oddities, _ = seconds(pa.array([NOON * 1000, NOON * 1000]), pa.array([NOON]))
    assert oddities.faults == [
        "times in 'when' of another unit than the others, which are milliseconds: 1 "
        f"(t, row 3: {NOON}); write all in one unit"
    ]


def test_texts_that_are_no_times_are_counted_with_examples():
    found, _, odd = seconds(pa.array(["2023-11-14", "yesterday", None, "2023-13-01"]))
    assert found[1:] == [None, None, None]
    assert (odd.count, odd.examples) == (2, ["t, row 2: 'yesterday'", "t, row 4: '2023-13-01'"])


def test_times_long_ago_stay_times():
    assert seconds(pa.array(["1969-12-31T23:59:59"]))[0] == [-1]
    assert seconds(pa.array([-86400, 0]))[0] == [-86400, 0]


def ids(column, *, is_typed=True, kinds=None):
    odd = misfits()
    kinds = kinds or IdKinds()
    found = values.ids(column, kinds=kinds, misfits=odd, first_row=0, is_typed=is_typed)
    return found.to_pylist(), kinds, odd


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([7, None, 7]), ["7", None, "7"]),
        (pa.array([7.0, None]), ["7", None]),
        (pa.array(["007", "", None]), ["007", None, None]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.nulls(2), [None, None]),
        (pa.array([{"text": "7", "is_number": True}, None], MIXED), ["7", None]),
    ],
    ids=str,
)
def test_ids_are_texts_whatever_they_were(column, expected):
    found, _, odd = ids(column)
    assert (found, odd.count) == (expected, 0)


@pytest.mark.parametrize(
    ("column", "example"),
    [
        (pa.array([7.5]), "t, row 1: '7.5'"),
        (pa.array([True]), "t, row 1: 'True'"),
        (pa.array([[1, 2]]), "t, row 1: '[1, 2]'"),
        (pa.array([MOMENT]), "t, row 1: '2023-11-14 22:13:20'"),
    ],
    ids=str,
)
def test_what_is_no_id_is_counted(column, example):
    assert ids(column)[2].examples == [example]


def mixed(kinds, choice="error"):
    oddities = Oddities("here")
    kinds.judge("users", choice, oddities)
    return oddities


def test_numbers_in_one_table_and_texts_in_another_are_told_with_both():
    _, kinds, _ = ids(pa.array([1, 2, 3]))
    ids(pa.array(["x"]), kinds=kinds)
    told = (
        "ids of users that are texts where 3 are numbers: 1 "
        "(t, row 1: 'x' of the texts; t, row 1: '1' of the numbers)"
    )
    assert mixed(kinds).faults == [f"{told}; correct them, or choose otherwise with policy.mixed_ids"]
    assert mixed(kinds, "text").remarks == [f"{told}; all are read as texts (policy.mixed_ids)"]


def test_ids_of_a_file_that_has_no_types_agree_with_numbers_and_with_texts():
    for column in (pa.array([1, 2]), pa.array(["x"])):
        _, kinds, _ = ids(column)
        ids(pa.array(["1"]), is_typed=False, kinds=kinds)
        assert mixed(kinds).faults == []


def test_numbers_are_read_from_texts_and_others_are_counted():
    odd = misfits()
    column = pa.array(["4", " 3.5 ", "-1e2", ".5", "", None, "four", "1,5"])
    found = values.numbers(column, misfits=odd, first_row=10)
    assert found.to_pylist() == [4, 3.5, -100, 0.5, None, None, None, None]
    assert (odd.count, odd.examples) == (2, ["t, row 17: 'four'", "t, row 18: '1,5'"])


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1999, None]),
        pa.array([1999.0, float("nan")]),
        pa.array(["1999", ""]),
        pa.array([date(1999, 5, 1), None]),
        pa.array([MOMENT.replace(year=1999), None], pa.timestamp("ms")),
    ],
    ids=str,
)
def test_a_year_is_the_same_however_it_is_written(column):
    odd = misfits()
    assert values.years(column, misfits=odd, first_row=0) == [1999, None]


def test_what_is_no_year_is_left_out_and_counted():
    odd = misfits()
    assert values.years(pa.array(["1999.5", "soon", "123456"]), misfits=odd, first_row=0) == [None] * 3
    assert odd.count == 3


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a| b |a|", None]),
        pa.array([["a", " b", None, "a", ""], None]),
        pa.array([["a", "b"], []], pa.large_list(pa.string())),
    ],
    ids=str,
)
def test_categories_are_a_list_or_a_text_with_bars(column):
    assert values.categories(column) == [("a", "b"), ()]


def test_texts_of_any_type_are_texts():
    assert values.texts(pa.array([1984, None])).to_pylist() == ["1984", None]
    assert values.texts(pa.array([["a", "b"], None])).to_pylist() == ["['a', 'b']", None]
    assert values.texts(pa.array(["", "x"])).to_pylist() == [None, "x"]


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.int8())])
def test_vectors_of_one_length_are_rows_and_missing_ones_are_nan(kind):
    vectors = Vectors(misfits())
    vectors.add(pa.nulls(1), 0)
    vectors.add(pa.array([None, [1, 2]], kind), 1)
    vectors.add(pa.array([[3, 4]], pa.list_(pa.float32(), 2)), 3)
    nan = float("nan")
    np.testing.assert_array_equal(vectors.rows(), np.float32([[nan, nan], [nan, nan], [1, 2], [3, 4]]))
    assert vectors.misfits.count == 0


def test_vectors_that_are_not_finite_or_of_another_length_are_counted():
    vectors = Vectors(misfits())
    vectors.add(pa.array([[1.0, 2.0], [1.0, float("inf")], [1.0], [None, 2.0], []]), 0)
    assert vectors.misfits.count == 4
    assert vectors.misfits.examples == [
        "t, row 2: '[1.0, inf]'",
        "t, row 3: '[1.0]'",
        "t, row 4: '[None, 2.0]'",
    ]


def test_texts_are_no_vectors():
    vectors = Vectors(misfits())
    vectors.add(pa.array(["[1, 2]", None]), 0)
    assert vectors.misfits.examples == ["t, row 1: '[1, 2]'"]
