"""Rows of itemic tokens that are zero, equal, or of another size than all others are told."""

import pytest

from tests.model_test.folders import ALWAYS, found, tensors, unusual

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def test_a_zero_row_of_an_itemic_token_fails(folder):
    with tensors(folder) as held:
        held[EMBEDDING][[322, 330]] = 0
    checks = found(folder)
    told = f"{EMBEDDING} in model.safetensors: 2 zero, first '<s_a_2>' (322)"
    failed = {name: check.detail for name, check in checks.items() if check.status == "failed"}
    assert failed["no zero row"] == told
    assert failed.keys() == {"no zero row", "no twin rows"}


def test_a_zero_row_of_a_text_token_is_a_note(folder):
    with tensors(folder) as held:
        held[EMBEDDING][70] = 0
    assert unusual(found(folder)) == {"no zero row": "note"} | ALWAYS


def test_itemic_tokens_with_the_same_row_fail(folder):
    with tensors(folder) as held:
        held[EMBEDDING][[321, 344]] = held[EMBEDDING][[329]].expand(2, -1)
    checks = found(folder)
    assert unusual(checks) == {"no twin rows": "failed"} | ALWAYS
    assert checks["no twin rows"].detail == (
        f"{EMBEDDING} in model.safetensors: itemic rows that copy another: 2, "
        "first '<s_b_1>' (329) of '<s_a_1>' (321)"
    )


def test_an_untied_head_is_looked_at_too(untied):
    with tensors(untied) as held:
        held[HEAD][321] = held[HEAD][322]
    checks = found(untied)
    assert unusual(checks) == {"no twin rows": "failed"} | ALWAYS
    assert checks["no twin rows"].detail.startswith(HEAD)


@pytest.mark.parametrize("factor", [5.0, 0.1])
def test_itemic_rows_of_another_size_are_a_note_with_figures(folder, factor):
    with tensors(folder) as held:
        held[EMBEDDING][320:325] *= factor
    checks = found(folder)
    assert unusual(checks) == {"row norms": "note"} | ALWAYS
    told = "5 of 26 itemic rows are far from the text rows; embed_tokens: itemic"
    assert checks["row norms"].detail.startswith(told)
