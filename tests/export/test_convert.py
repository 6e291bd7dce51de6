"""Conversion: exact casts, shards, a proof that fails when it should, and nothing half done."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from onerec.checkpoint import commit
from onerec.checkpoint.tensors import read
from onerec.config import ConvertConfig
from onerec.convert import choose_checkpoint, convert, open_source, prove
from onerec.errors import ConfigError, OneRecError, StorageError
from onerec.model.safetensors_writer import ShardWriter, split, tensor_digest
from tests import tiny


@pytest.fixture(scope="module")
def stage(tiny_programme, tmp_path_factory):
    """A short trained stage."""
    config = tiny.train_config(
        tiny_programme, tmp_path_factory.mktemp("convert") / "stage", duration={"max_steps": 3}
    )
    tiny.run(config)
    return Path(config["output_dir"])


def conversion(stage, programme, tmp_path, **changes):
    return ConvertConfig(
        output_dir=str(tmp_path / "records"),
        stage_dir=str(stage),
        model_dir=str(programme / "expanded" / "model"),
        **changes,
    )


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_every_tensor_is_the_cast_of_its_source_and_the_folder_loads(stage, tiny_programme, tmp_path, dtype):
    told = convert(conversion(stage, tiny_programme, tmp_path, dtype=dtype, link=str(tmp_path / "model")))
    target = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    source = open_source(commit.step_dir(stage, 3), tiny_programme / "expanded" / "model")
    written = load_file(Path(told["model_dir"]) / "model.safetensors")
    before = load_file(tiny_programme / "expanded" / "model" / "model.safetensors")
    assert set(written) == set(source.names()) == set(before)
    trained = {name: torch.empty(shape) for name, shape in source.trained.items()}
    dcp_folder = commit.step_dir(stage, 3) / "global_step3" / "model"
    read(trained, dcp_folder, whose="the checkpoint", alone=True)
    assert set(trained) == set(written)
    for name, tensor in trained.items():
        assert torch.equal(written[name], tensor.to(target)), name
        assert not torch.equal(tensor, before[name]), name
    for name, tensor in written.items():
        assert torch.equal(tensor, source.load(name).to(target)), name
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.dtype == target
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template


def test_a_second_conversion_does_nothing(stage, tiny_programme, tmp_path):
    config = conversion(stage, tiny_programme, tmp_path, dtype="fp32")
    folder = Path(convert(config)["model_dir"])
    before = (folder / "model.safetensors").stat().st_mtime_ns
    convert(config)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_shards_of_a_bounded_size_have_an_index_and_load(stage, tiny_programme, tmp_path):
    copy = tmp_path / "stage"
    shutil.copytree(stage, copy, ignore=shutil.ignore_patterns("converted*"))
    folder = convert(conversion(copy, tiny_programme, tmp_path, max_shard_gigabytes=4e-5))["model_dir"]
    index = json.loads((Path(folder) / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 352


def test_a_step_that_is_not_there_lists_those_that_are(stage):
    with pytest.raises(ConfigError, match="no complete checkpoint of step 4000; steps there: 3"):
        choose_checkpoint(stage, 4000)


def test_a_damaged_checkpoint_is_not_converted(stage, tmp_path):
    copy = tmp_path / "stage"
    shutil.copytree(stage, copy)
    shard = next((copy / "step3").rglob("*.distcp"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(StorageError, match="differs from its digest"):
        choose_checkpoint(copy, None)


def test_the_proof_finds_a_changed_tensor_and_a_missing_one(stage, tiny_programme, tmp_path):
    folder = Path(convert(conversion(stage, tiny_programme, tmp_path, dtype="fp32"))["model_dir"])
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    tensors = load_file(path)
    digests = {name: tensor_digest(tensor) for name, tensor in tensors.items()}
    try:
        save_file(
            {**tensors, "model.norm.weight": tensors["model.norm.weight"] + 1},
            path,
            metadata={"format": "pt"},
        )
        with pytest.raises(StorageError, match=r"model\.norm\.weight reads back differently"):
            prove(folder, digests=digests)
        tensors.pop("model.norm.weight")
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(OneRecError, match=r"first model\.norm\.weight"):
            prove(folder, digests=digests)
    finally:
        path.write_bytes(whole)


def test_tensors_are_divided_in_order_and_a_large_one_stands_alone():
    shapes = {"a": (2,), "b": (3,), "c": (100,), "d": (1,)}
    shards = split(shapes, item_bytes=4, max_shard_bytes=20)
    assert [list(shard.shapes) for shard in shards] == [["a", "b"], ["c"], ["d"]]
    assert shards[1].name == "model-00002-of-00003.safetensors"


def test_what_the_writer_streams_is_what_safetensors_reads(tmp_path):
    tensors = {"x": torch.arange(6.0).view(2, 3), "empty": torch.zeros(0, 4), "y": torch.tensor(3.5)}
    writer = ShardWriter(tmp_path, dtype=torch.float32, max_shard_bytes=1 << 20)
    writer.plan({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    for name, tensor in tensors.items():
        writer.write(name, tensor)
    writer.close()
    read = load_file(tmp_path / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in read.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }
