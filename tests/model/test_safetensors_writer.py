"""Files of tensors written as they come, as safetensors reads them."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file

from onerec.model.safetensors_writer import ShardWriter, bytes_of, split

TENSORS = {"x": torch.arange(6.0).view(2, 3), "empty": torch.zeros(0, 4), "y": torch.tensor(3.5)}


def shapes():
    return {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}


def test_tensors_are_divided_in_order_and_a_large_one_stands_alone():
    wanted = {"a": (2,), "b": (3,), "c": (100,), "d": (1,)}
    shards = split(wanted, item_bytes=4, max_shard_bytes=20)
    assert [list(shard.shapes) for shard in shards] == [["a", "b"], ["c"], ["d"]]
    assert shards[1].name == "model-00002-of-00003.safetensors"


@pytest.mark.parametrize("piece", [1, 2, 100])
def test_what_is_written_in_pieces_is_what_safetensors_reads(tmp_path, piece):
    with ShardWriter(tmp_path, dtype=torch.float32, max_shard_bytes=1 << 20) as writer:
        writer.plan(shapes())
        for name, one in TENSORS.items():
            writer.write(name, one.reshape(-1).split(piece))
    read = load_file(tmp_path / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in read.items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    assert writer.digests == {
        name: hashlib.sha256(bytes_of(one)).hexdigest() for name, one in TENSORS.items()
    }


def test_another_format_or_shape_than_planned_is_refused(tmp_path):
    for wrong in (torch.zeros(6, dtype=torch.bfloat16), torch.zeros(5)):
        writer = ShardWriter(tmp_path, dtype=torch.float32, max_shard_bytes=1 << 20)
        writer.plan(shapes())
        with pytest.raises(AssertionError, match="x was planned"), writer:
            writer.write("x", [wrong])
