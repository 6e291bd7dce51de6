"""Reading checkpoints: planted code does not run, and what does not fit is named."""

import pickle
import subprocess
import sys

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from onerec.checkpoint.tensors import SafeReader, read
from onerec.errors import ConfigError, StorageError


@pytest.fixture
def folder(tmp_path):
    with pytest.warns(UserWarning, match=r"torch\.distributed is disabled"):
        dcp.save(
            {"a": torch.arange(4.0), "b": torch.ones(2)}, storage_writer=FileSystemWriter(tmp_path / "dcp")
        )
    return tmp_path / "dcp"


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (subprocess.check_call, ([sys.executable, "-c", f"open({str(self.path)!r}, 'w')"],))


def test_tensors_are_read_in_place(folder):
    tensors = {"a": torch.zeros(4), "b": torch.zeros(2)}
    read(tensors, folder, whose="it", alone=True)
    assert tensors["a"].tolist() == [0, 1, 2, 3]
    assert tensors["b"].tolist() == [1, 1]


def test_a_bomb_in_the_metadata_does_not_go_off(folder, tmp_path):
    (folder / ".metadata").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(StorageError, match=r"subprocess\.check_call.*refused"):
        SafeReader(folder).read_metadata()
    assert not (tmp_path / "exploded").exists()


def test_a_bomb_made_of_what_the_allowed_modules_import_does_not_go_off(folder):
    # _get_device_module("load") is torch.load: the module is DCP's own, the function opens a second pickle
    module = "torch.distributed.checkpoint.filesystem"
    (folder / ".metadata").write_bytes(f"c{module}\n_get_device_module\n(S'load'\ntR.".encode())
    with pytest.raises(StorageError, match=r"_get_device_module.*refused"):
        SafeReader(folder).read_metadata()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": torch.zeros(4), "c": torch.zeros(1)}, "train different parameters .first: c."),
        ({"a": torch.zeros(4)}, "train different parameters .first: b."),
        ({"a": torch.zeros(5), "b": torch.zeros(2)}, "a has shape .4,., not .5,."),
    ],
)
def test_what_does_not_fit_is_named(folder, tensors, message):
    with pytest.raises(ConfigError, match=message):
        read(tensors, folder, whose="the checkpoint")
