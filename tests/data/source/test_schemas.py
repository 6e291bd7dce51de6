from __future__ import annotations

import pyarrow as pa
import pytest

from onerec.data.source.schemas import conformed, unified_schema
from onerec.errors import DataError


def unified(*schemas):
    return unified_schema((f"{number}.parquet", pa.schema(schema)) for number, schema in enumerate(schemas))


def test_columns_of_all_files_stand_in_the_order_in_which_they_come():
    found = unified({"b": pa.int64(), "a": pa.string()}, {"c": pa.float32(), "a": pa.string()})
    assert found == pa.schema({"b": pa.int64(), "a": pa.string(), "c": pa.float32()})


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        ((pa.string(), pa.large_string()), pa.string()),
        ((pa.string_view(), pa.large_string()), pa.string()),
        ((pa.large_string(), pa.large_string()), pa.large_string()),
        ((pa.dictionary(pa.int32(), pa.string()), pa.string()), pa.string()),
        ((pa.string(), pa.dictionary(pa.int8(), pa.large_string())), pa.string()),
        ((pa.null(), pa.list_(pa.int64())), pa.list_(pa.int64())),
        ((pa.list_(pa.int64()), pa.null()), pa.list_(pa.int64())),
    ],
)
def test_text_is_text_and_nothing_is_anything(kinds, wanted):
    assert unified(*({"a": kind} for kind in kinds)).field("a").type == wanted


@pytest.mark.parametrize("other", [pa.list_(pa.string()), pa.int64(), pa.binary()])
def test_a_clash_of_types_is_told_with_both_files(other):
    with pytest.raises(
        DataError, match=r"column b is string in 0\.parquet and .* in 2\.parquet; write one of them again"
    ):
        unified({"b": pa.string()}, {"a": pa.int64()}, {"b": other})


def test_a_batch_gets_the_columns_it_lacks_and_the_common_types():
    schema = pa.schema({"a": pa.string(), "b": pa.int64(), "c": pa.list_(pa.string())})
    batch = pa.record_batch({"b": [1, 2], "a": pa.array(["x", "x"]).dictionary_encode()})
    assert conformed(batch, schema).to_pylist() == [{"a": "x", "b": n, "c": None} for n in (1, 2)]
    assert conformed(batch, schema).schema == schema
