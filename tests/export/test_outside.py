"""Checkpoints that belong to no run: those of OpenOneRec's trainer, written by several ranks, and our own."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onerec.config import ConvertConfig
from onerec.convert import convert
from onerec.errors import ConfigError, StorageError
from onerec.export.locate import locate
from tests import tiny

WRITER = """
import os, sys, torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from safetensors.torch import load_file
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

class App:
    def __init__(self, model): self.model = model
    def state_dict(self):
        moments = {"state": {name: {"exp_avg": one * 0} for name, one in self.model.items()}, "step": 3}
        return {"model": self.model, "optimizer": moments, "note": "bytes"}
    def load_state_dict(self, _): pass

source, target, head, by = sys.argv[1:]
dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
tensors = load_file(source)
if head != "none":
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + (head == "other")
axis = {name: one.ndim - 1 if by == "columns" else 0 for name, one in tensors.items()}
sharded = {name: distribute_tensor(one.float(), mesh, [Shard(axis[name])]) for name, one in tensors.items()}
dcp.save({"app": App(sharded)}, storage_writer=FileSystemWriter(target, thread_count=2))
dist.barrier()
os._exit(0)  # destructors of a process group may wait for ranks that are gone, and abort
"""


def written(programme, folder, *, head, by="rows"):
    """A checkpoint as OpenOneRec lays it out, of two ranks with two files each; the folder of all steps."""
    program = folder / "writer.py"
    program.write_text(WRITER)
    target = folder / "out" / "step7" / "global_step7"
    source = programme / "expanded" / "model" / "model.safetensors"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, "--log-dir", folder / "logs", program, source, target, head, by],
        capture_output=True,
        text=True,
        check=False,
        env={**tiny.environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def foreign(tiny_programme, tmp_path_factory):
    return written(tiny_programme, tmp_path_factory.mktemp("foreign"), head="same")


def conversion(source, programme, tmp_path, **changes):
    return ConvertConfig(
        output_dir=str(tmp_path / "records"),
        checkpoint_dir=str(source),
        target_dir=str(tmp_path / "target"),
        model_dir=str(programme / "expanded" / "model"),
        dtype="fp32",
        **changes,
    )


@pytest.mark.parametrize("spelling", [("", 7), ("step7", None), ("step7/global_step7", None), ("step7", 7)])
def test_a_checkpoint_of_openonerec_is_converted_however_it_is_named(
    foreign, tiny_programme, tmp_path, capsys, spelling
):
    place, step = spelling
    convert(conversion(foreign / place, tiny_programme, tmp_path, step=step))
    converted = load_file(tmp_path / "target" / "model.safetensors")
    original = load_file(tiny_programme / "expanded" / "model" / "model.safetensors")
    assert set(converted) == set(original)
    for name, tensor in original.items():
        assert torch.equal(converted[name], tensor.float()), name
    assert json.loads((tmp_path / "target" / "conversion.json").read_text())["step"] == 7
    assert "vouches for its bytes" in capsys.readouterr().err


def test_shards_that_are_no_whole_rows_are_put_together(tiny_programme, tmp_path):
    source = written(tiny_programme, tmp_path, head="same", by="columns")
    assert locate(source, 7).open()._row_chunks("model.embed_tokens.weight") is None
    convert(conversion(source, tiny_programme, tmp_path, step=7))
    original = load_file(tiny_programme / "expanded" / "model" / "model.safetensors")
    converted = load_file(tmp_path / "target" / "model.safetensors")
    for name, tensor in original.items():
        assert torch.equal(converted[name], tensor.float()), name
    next((source / "step7" / "global_step7").glob("__1_*.distcp")).unlink()
    shutil.rmtree(tmp_path / "target")
    with pytest.raises(StorageError, match=str(source / "step7")):
        convert(conversion(source, tiny_programme, tmp_path, step=7))


def test_an_index_that_lacks_a_shard_is_told(hurt, tiny_programme, tmp_path):
    metadata = pickle.loads((hurt / ".metadata").read_bytes())
    metadata.state_dict_metadata["app.model.model.norm.weight"].chunks.pop()
    (hurt / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(StorageError, match=r"do not make up model\.norm\.weight"):
        convert(conversion(hurt, tiny_programme, tmp_path))


def test_the_verb_does_it(foreign, tiny_programme, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "runner", "convert", "--from", foreign, "--step", "7", "--dtype", "bf16"),
            *("--model-dir", tiny_programme / "expanded" / "model", "--output", tmp_path / "mine"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=tiny.environment(),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"converted: {tmp_path / 'mine'}" in done.stdout
    assert load_file(tmp_path / "mine" / "model.safetensors")["model.norm.weight"].dtype == torch.bfloat16


def test_a_checkpoint_of_ours_may_be_named_the_same_way(tiny_programme, tmp_path):
    config = tiny.train_config(tiny_programme, tmp_path / "stage", duration={"max_steps": 1})
    tiny.run(config)
    convert(conversion(tmp_path / "stage", tiny_programme, tmp_path, step=1))
    expected = load_file(tiny.export(config, tiny_programme) / "model.safetensors")
    for name, tensor in load_file(tmp_path / "target" / "model.safetensors").items():
        assert torch.equal(tensor, expected[name]), name


def test_a_head_that_is_no_copy_of_a_tied_embedding_is_told(tiny_programme, tmp_path):
    source = written(tiny_programme, tmp_path, head="other")
    with pytest.raises(ConfigError, match="the head is no copy of the embedding"):
        convert(conversion(source, tiny_programme, tmp_path, step=7))
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("place", "step", "told"),
    [
        ("", None, r"is and has no checkpoint; steps there: 7; choose one with --step"),
        ("", 8, r"no checkpoint of step 8; steps there: 7"),
        ("step7", 8, r"no checkpoint of step 8"),
        ("nowhere", None, r"nowhere is no folder"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(foreign, place, step, told):
    with pytest.raises(ConfigError, match=told):
        locate(foreign / place, step)


def test_a_folder_that_somebody_else_made_is_not_written_over(foreign, tiny_programme, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there and no converted folder"):
        convert(conversion(foreign, tiny_programme, tmp_path, step=7))
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["mine.txt"]


def test_another_conversion_is_not_taken_for_this_one(foreign, tiny_programme, tmp_path):
    convert(conversion(foreign, tiny_programme, tmp_path, step=7))
    before = (tmp_path / "target" / "model.safetensors").stat().st_mtime_ns
    convert(conversion(foreign, tiny_programme, tmp_path, step=7))
    other = conversion(foreign, tiny_programme, tmp_path, step=7).model_copy(update={"dtype": "bf16"})
    with pytest.raises(ConfigError, match="is there, with step 7 in fp32, not step 7"):
        convert(other)
    config = tiny.train_config(tiny_programme, tmp_path / "stage", duration={"max_steps": 7})
    tiny.run(config)
    with pytest.raises(ConfigError, match="move it away, or name a new one"):
        convert(conversion(tmp_path / "stage", tiny_programme, tmp_path, step=7))
    assert (tmp_path / "target" / "model.safetensors").stat().st_mtime_ns == before


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def hurt(foreign, tmp_path):
    """A copy of it, to be hurt."""
    return shutil.copytree(foreign, tmp_path / "hurt") / "step7" / "global_step7"


def test_a_bomb_in_the_index_does_not_go_off(hurt, tiny_programme, tmp_path):
    (hurt / ".metadata").write_bytes(pickle.dumps({"app": Bomb(tmp_path / "exploded")}))
    with pytest.raises(StorageError, match="refused"):
        convert(conversion(hurt, tiny_programme, tmp_path))
    assert not (tmp_path / "exploded").exists()


def test_an_index_that_is_none_is_told(hurt, tiny_programme, tmp_path):
    (hurt / ".metadata").write_bytes(b"no pickle")
    with pytest.raises(StorageError, match=r"\.metadata is no index of a checkpoint"):
        convert(conversion(hurt, tiny_programme, tmp_path))


@pytest.mark.parametrize("harm", ["cut", "flip", "missing", "hostile"])
def test_a_damaged_file_is_named_although_no_digest_vouches_for_it(hurt, tiny_programme, tmp_path, harm):
    files = sorted(hurt.glob("*.distcp"), key=lambda path: path.stat().st_size)
    path = files[-1]
    data = path.read_bytes()
    if harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "flip":
        every = bytearray(data)
        every[2000::4096] = bytes(byte ^ 1 for byte in every[2000::4096])
        path.write_bytes(every)
    elif harm == "hostile":
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")) + bytes(len(data)))
    else:
        path.unlink()
    with pytest.raises(StorageError, match=str(path)):
        convert(conversion(hurt, tiny_programme, tmp_path))
    assert not (tmp_path / "exploded").exists()
    assert not (tmp_path / "target").exists()
