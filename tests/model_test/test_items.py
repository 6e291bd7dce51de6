"""Whole items are told from broken ones, token by token, also when the prompt began one."""

import pytest

from onerec.model_test.items import Items, items_in
from onerec.vocab import ItemicVocab

VOCAB = ItemicVocab(layer_n=2, size_per_layer=3, first_id=10)
A, B, BEGIN, END, TEXT = 10, 13, 16, 17, 5
ITEM = [BEGIN, A + 2, B, END]


@pytest.mark.parametrize(
    ("prompt", "answer", "items"),
    [
        ([], [*ITEM, TEXT, *ITEM], Items(2, 0, False)),
        ([TEXT], [TEXT], Items(0, 0, False)),
        ([BEGIN], [A, B + 1, END, TEXT], Items(1, 0, False)),
        ([*ITEM, BEGIN, A], [B, END, BEGIN, A], Items(1, 0, True)),
        (ITEM, [], Items(0, 0, False)),
        ([], [A], Items(0, 1, False)),
        ([], [BEGIN, B, A, END], Items(0, 4, False)),
        ([], [BEGIN, *ITEM], Items(1, 1, False)),
        ([], [BEGIN, A, TEXT, B, END], Items(0, 4, False)),
        ([BEGIN, A], [A, B, END], Items(0, 3, False)),
        ([], [BEGIN, A, B], Items(0, 0, True)),
    ],
)
def test_items_of_an_answer(prompt, answer, items):
    assert items_in(answer, prompt=prompt, vocab=VOCAB) == items
