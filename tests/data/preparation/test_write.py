from __future__ import annotations

import pytest

from onerec.data.preparation.write import CHARACTERS_PER_BATCH, ROWS_PER_BATCH, batches, pieces_of
from onerec.data.source.validate import Record
from onerec.data.text.render import Rendered


def sizes(*characters):
    rows = (Record("f", row, {"segments": "x" * count}) for row, count in enumerate(characters))
    return [len(batch) for batch in batches(rows)]


def test_batches_are_bounded_by_rows_and_by_characters():
    assert sizes(*[1] * (2 * ROWS_PER_BATCH + 1)) == [ROWS_PER_BATCH, ROWS_PER_BATCH, 1]
    assert sizes(1, CHARACTERS_PER_BATCH, 1, 1) == [2, 2]
    assert sizes() == []


def test_nested_values_count_as_their_texts():
    part = {"type": "", "text": "x" * CHARACTERS_PER_BATCH}
    rows = (Record("f", row, {"messages": [part], "metadata": None}) for row in range(3))
    assert [len(batch) for batch in batches(rows)] == [1, 1, 1]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 11])
def test_pieces_put_together_are_the_sample(limit):
    whole = Rendered(list(range(10)), [(1, 4), (6, 10)])
    pieces = list(pieces_of(whole, limit))
    trained = [
        number for piece in pieces for start, end in piece.spans for number in piece.input_ids[start:end]
    ]
    assert [number for piece in pieces for number in piece.input_ids] == whole.input_ids
    assert trained == [1, 2, 3, 6, 7, 8, 9]
    assert max(len(piece.input_ids) for piece in pieces) == min(limit, 10)
