"""Rows of stored tensors: the same as DCP loads, and no changed byte gives other numbers or another error."""

import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from onerec.checkpoint import archive
from onerec.checkpoint.stored import StoredTensors
from onerec.errors import StorageError

ROOT = Path(__file__).parents[2]
TENSORS = {
    "table": torch.arange(1000.0).view(200, 5),
    "norm": torch.ones(3, dtype=torch.bfloat16),
    "number": torch.tensor(3.5),
    "empty": torch.zeros(0, 4),
    "transposed": torch.arange(6.0).view(2, 3).T,
}


@pytest.fixture
def folder(tmp_path):
    with pytest.warns(UserWarning, match=r"torch\.distributed is disabled"):
        dcp.save(TENSORS, storage_writer=FileSystemWriter(tmp_path / "dcp"))
    return tmp_path / "dcp"


def whole(folder):
    stored = StoredTensors(folder)
    return {
        name: torch.cat([torch.empty(0), *map(torch.clone, stored.pieces(name))]).tolist()
        for name in stored.names()
    }


@pytest.mark.parametrize("block", [1, 24, 1 << 20])
def test_pieces_and_rows_are_those_of_the_tensor(folder, monkeypatch, block):
    monkeypatch.setattr(archive, "BLOCK_BYTES", block)
    assert whole(folder) == {name: tensor.reshape(-1).tolist() for name, tensor in TENSORS.items()}
    stored = StoredTensors(folder)
    assert all(piece.numel() % 5 == 0 for piece in stored.pieces("table"))
    assert torch.equal(stored.rows("table", [11, 0, 11]), TENSORS["table"][[11, 0, 11]])
    assert torch.equal(stored.rows("transposed", [2, 1]), TENSORS["transposed"][[2, 1]])


def test_a_changed_byte_is_told_or_changes_nothing(folder, tmp_path):
    pick, expected, told = random.Random(5), whole(folder), []
    data = (folder / "__0_0.distcp").read_bytes()
    places = [at for at in range(len(data)) if data.startswith((b"PK", b"archive"), at)]
    for _ in range(250):
        start = pick.choice([pick.choice(places), pick.randrange(len(data))])
        at = min(start + pick.randrange(40), len(data) - 1)
        changed = bytearray(data)
        how = pick.choice(["flip", "zero", "cut", "double"])
        if how == "flip":
            changed[at] ^= 1 << pick.randrange(8)
        elif how == "zero":
            changed[at : at + 16] = bytes(len(changed[at : at + 16]))
        elif how == "cut":
            del changed[at:]
        else:
            changed[at:at] = changed[at : at + 8]
        (folder / "__0_0.distcp").write_bytes(changed)
        try:
            found = whole(folder)
        except StorageError as fault:
            told.append(str(fault))
        else:
            assert found == expected, (how, at)
    assert len(told) > 100
    assert [text for text in told if "__0_0.distcp is damaged where" not in text] == []


def chunk_of(metadata, name="table"):
    return metadata.state_dict_metadata[name].chunks[0]


def outside(metadata):
    chunk_of(metadata).offsets = torch.Size([1, 0])


def twice(metadata):
    first, other = list(metadata.storage_data.values())[:2]
    other.offset = first.offset


def overlapping(metadata):
    entry = metadata.state_dict_metadata["table"]
    half = type(entry.chunks[0])(torch.Size([0, 0]), torch.Size([100, 5]))
    entry.chunks = [half, half]


def integers(metadata):
    metadata.state_dict_metadata["table"].properties.dtype = torch.int32


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (outside, "the shards that its index tells of do not make up table"),
        (overlapping, "the shards that its index tells of do not make up table"),
        (lambda m: m.state_dict_metadata["table"].chunks.clear(), "do not make up table"),
        (twice, "two shards are in one place"),
        (lambda m: setattr(next(iter(m.storage_data.values())), "length", None), "no index of a checkpoint"),
        (
            lambda m: setattr(m.state_dict_metadata["table"].properties, "dtype", torch.int32),
            "something else",
        ),
        (lambda m: m.storage_data.clear(), "its index does not tell where"),
        (
            lambda m: [setattr(place, "relative_path", "../x.distcp") for place in m.storage_data.values()],
            "its index names a file outside of it; refused",
        ),
    ],
    ids=["outside", "overlapping", "none", "one place", "no length", "number format", "no places", "path"],
)
def test_an_index_that_does_not_hold_together_is_told(folder, tmp_path, harm, told):
    shutil.copyfile(folder / "__0_0.distcp", tmp_path / "x.distcp")
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    harm(metadata)
    Path(folder / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(StorageError, match=told):
        whole(folder)


def test_an_index_that_names_one_place_twice_is_refused_even_where_asserts_are_off(folder):
    """Without digests nothing else would tell: one tensor would have the numbers of another."""
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    first, second, *_ = metadata.storage_data.values()
    second.relative_path, second.offset, second.length = first.relative_path, first.offset, first.length
    path.write_bytes(pickle.dumps(metadata))
    code = (
        "import sys, pathlib\n"
        "from onerec.checkpoint.stored import StoredTensors\n"
        "StoredTensors(pathlib.Path(sys.argv[1]))"
    )
    for flags in ((), ("-O",)):
        done = subprocess.run(
            [sys.executable, *flags, "-c", code, folder],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 1
        assert "StorageError" in done.stderr
        assert "two shards are in one place" in done.stderr
