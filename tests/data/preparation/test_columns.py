from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onerec.data.preparation.columns import Sample, columns_of, trained_tokens, uuid_hash, uuid_hashes
from onerec.data.text.label import count_trained
from onerec.data.text.render import Rendered
from tests.data.rows import identifier, text

ITEMIC = (100, 199)


def spelled(number: int, spelling: str) -> str:
    one = uuid.UUID(int=number)
    return {"urn": one.urn, "hex": one.hex, "upper": str(one).upper(), "braces": f"{{{one}}}", "": str(one)}[
        spelling
    ]


def sample(ids, spans, *, source=0, number=0, piece=0):
    return Sample(text("x", number=number), Rendered(ids, spans), source, piece)


def test_equal_uuids_have_equal_hashes_however_they_are_spelled():
    spellings = ["6F9619FF-8B86-D011-B42D-00C04FC964FF", "6f9619ff8b86d011b42d00c04fc964ff"]
    assert len({uuid_hash(spelling) for spelling in spellings}) == 1
    assert uuid_hash(spellings[0]) != uuid_hash("6f9619ff8b86d011b42d00c04fc964fe")


@given(
    st.lists(
        st.tuples(st.integers(0, 2**128 - 1), st.sampled_from(["", "", "urn", "hex", "upper", "braces"])),
        min_size=1,
    )
)
def test_hashes_are_the_two_halves_of_the_number_whatever_stands_together(parts):
    hashes = uuid_hashes([spelled(*part) for part in parts]).tolist()
    assert hashes == [(number >> 64) ^ (number & (2**64 - 1)) for number, _ in parts]


@pytest.mark.parametrize("odd", ["１2345678123456781234567812345678", " 2345678-1234-5678-1234-567812345678"])
def test_what_uuid_reads_and_hexadecimal_does_not_is_hashed_all_the_same(odd):
    assert uuid_hashes([identifier(1), odd]).tolist() == [uuid_hash(identifier(1)), uuid_hash(odd)]
    assert uuid_hash(odd) == uuid_hash(str(uuid.UUID(odd)))


SPANS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=4).map(
    lambda pairs: [(start, start + length) for start, length in pairs]
)


@given(st.lists(SPANS, min_size=1))
def test_trained_tokens_of_many_samples_are_those_of_each(spans_of):
    flat = [border for spans in spans_of for span in spans for border in span]
    offsets = np.cumsum([0, *(2 * len(spans) for spans in spans_of)])
    found = trained_tokens(np.array(flat, dtype=np.int32), offsets.astype(np.int32))
    assert found.tolist() == [count_trained(spans) for spans in spans_of]


def test_columns_hold_the_samples_and_count_them_by_source():
    samples = [
        sample([1, 100, 2], [(1, 3)], source=1, number=7),
        sample([199, 200, 150], [(0, 1), (2, 3)], source=0, number=8),
        sample([5], [], source=1, number=8, piece=1),
    ]
    batch, totals = columns_of(samples, ITEMIC, 3)
    columns = batch.to_pydict()
    assert columns["input_ids"] == [[1, 100, 2], [199, 200, 150], [5]]
    assert columns["spans"] == [[1, 3], [0, 1, 2, 3], []]
    assert columns["trained"] == [2, 1, 0]
    assert (columns["source"], columns["row"], columns["piece"]) == ([1, 0, 1], [7, 8, 8], [0, 0, 1])
    assert columns["uuid"] == [identifier(7), identifier(8), identifier(8)]
    assert columns["uuid_hash"] == [uuid_hash(one) for one in columns["uuid"]]
    assert totals.samples.tolist() == [1, 2, 0]
    assert totals.tokens.tolist() == [3, 4, 0]
    assert totals.trained.tolist() == [1, 2, 0]
    assert totals.itemic.tolist() == [2, 1, 0]


def test_ids_may_be_arrays_as_well_as_lists():
    lists = [sample([1, 2, 3], [(1, 3)]), sample([4], [])]
    arrays = [sample(np.array(one.rendered.input_ids, np.int32), one.rendered.spans) for one in lists]
    assert columns_of(arrays, ITEMIC, 1)[0].equals(columns_of(lists, ITEMIC, 1)[0])
