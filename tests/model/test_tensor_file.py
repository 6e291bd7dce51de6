import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from onerec.errors import StorageError
from onerec.model import tensor_file
from onerec.model.tensor_file import Growth, copy_tensors

TENSORS = {
    "b.table": torch.arange(12, dtype=torch.bfloat16).reshape(6, 2),
    "a.vector": torch.tensor([1.5, float("nan"), -0.0]),
    "c.scalar": torch.tensor(7),
    "d.empty": torch.zeros(0, 4),
}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt", "who": "me"})
    return path


def bits(tensor):
    return (
        tensor.dtype,
        tuple(tensor.shape),
        tensor.contiguous().view(torch.uint8).tolist() if tensor.dim() else tensor.item(),
    )


def rows(*values):
    return lambda: iter(
        [torch.tensor(row, dtype=torch.bfloat16).view(torch.uint8).numpy().tobytes() for row in values]
    )


@pytest.mark.parametrize("piece", [1, 5, 2**20])
def test_without_changes_every_tensor_and_the_metadata_stay(source, tmp_path, monkeypatch, piece):
    monkeypatch.setattr(tensor_file, "COPY_BYTES", piece)
    target = tmp_path / "target.safetensors"
    size = copy_tensors(source, target, growths={}, dropped=frozenset())
    found = load_file(target)
    assert {name: bits(tensor) for name, tensor in found.items()} == {n: bits(t) for n, t in TENSORS.items()}
    assert size == sum(t.numel() * t.element_size() for t in TENSORS.values())
    with safe_open(target, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "who": "me"}


def test_a_table_keeps_its_first_rows_and_gets_new_ones(source, tmp_path):
    target = tmp_path / "target.safetensors"
    growth = Growth(kept_rows=2, rows=5, new_rows=rows([9.0, 8.0], [[7.0, 6.0], [5.0, 4.0]]))
    copy_tensors(source, target, growths={"b.table": growth}, dropped=frozenset({"c.scalar"}))
    found = load_file(target)
    assert found["b.table"].tolist() == [[0, 1], [2, 3], [9, 8], [7, 6], [5, 4]]
    assert bits(found["a.vector"]) == bits(TENSORS["a.vector"])
    assert set(found) == {"a.vector", "b.table", "d.empty"}


def test_a_file_of_which_nothing_is_left_is_not_written(source, tmp_path):
    target = tmp_path / "target.safetensors"
    assert copy_tensors(source, target, growths={}, dropped=frozenset(TENSORS)) == 0
    assert not target.exists()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:20], lambda data: b"", lambda data: b"x" * 99]
)
def test_a_damaged_file_is_an_error_that_names_it(source, tmp_path, damage):
    source.write_bytes(damage(source.read_bytes()))
    with pytest.raises(StorageError, match=r"source\.safetensors is damaged"):
        copy_tensors(source, tmp_path / "target.safetensors", growths={}, dropped=frozenset())
