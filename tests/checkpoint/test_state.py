"""trainer.json: what is written is what is read, and anything else is told with its file."""

import json

import pytest
import torch

from onerec.checkpoint import commit
from onerec.checkpoint.state import FORMAT, TrainerState, document_of, load_state, restore_rng
from onerec.checkpoint.stretch import Stretch
from onerec.errors import StorageError

STATE = TrainerState(
    step=7,
    loss=1.5,
    data={"epoch": 0, "next_pack": 14},
    packs_per_step=2,
    counts={"history": [100, 3]},
    run={"stage": "sft", "seed": 5},
    stretches=(Stretch("1", 1, 0, 0, 3, 0, 6), Stretch("2", 2, 4, 3, 7, 6, 14)),
)


def written(folder, document):
    path = commit.data_dir(folder / "step7") / "trainer.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return folder / "step7"


def test_a_state_comes_back_as_it_was(tmp_path):
    assert load_state(written(tmp_path, document_of(STATE))) == STATE


def test_random_numbers_go_on_where_they_stood(tmp_path):
    torch.manual_seed(3)
    checkpoint = written(tmp_path, document_of(STATE))
    expected = torch.rand(3)
    torch.manual_seed(4)
    restore_rng(checkpoint)
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_of_the_first_format_is_read_without_stretches(tmp_path):
    document = {**document_of(STATE), "format": 1}
    del document["stretches"]
    assert load_state(written(tmp_path, document)).stretches == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda _: "{", "cannot be read"),
        (lambda _: "[]", "not of format"),
        (lambda d: {**d, "format": FORMAT + 1}, "another version"),
        (lambda d: {**d, "step": "many"}, "no state of a trainer"),
        (lambda d: {key: value for key, value in d.items() if key != "data"}, "no state of a trainer"),
        (lambda d: {**d, "stretches": [{"attempt": "1"}]}, "no state of a trainer"),
    ],
)
def test_what_is_no_state_is_told_with_its_file(tmp_path, change, told):
    checkpoint = written(tmp_path, change(document_of(STATE)))
    with pytest.raises(StorageError, match=told) as fault:
        load_state(checkpoint)
    assert str(commit.data_dir(checkpoint) / "trainer.json") in str(fault.value)


@pytest.mark.parametrize("rng", [None, "AAAA", 7, "no base64"])
def test_random_numbers_that_are_none_are_told_with_their_file(tmp_path, rng):
    checkpoint = written(tmp_path, {**document_of(STATE), "torch_rng": rng})
    with pytest.raises(StorageError, match=r"trainer\.json: torch_rng is no state"):
        restore_rng(checkpoint)


def test_a_state_that_is_not_there_is_told_with_its_file(tmp_path):
    with pytest.raises(StorageError, match=r"trainer\.json cannot be read"):
        load_state(tmp_path / "step7")
