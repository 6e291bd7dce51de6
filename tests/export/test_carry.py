"""The folder that a stage started from: it must be the same where weights come from it, and be one at all."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from onerec.checkpoint import commit
from onerec.checkpoint.tensors import read, write
from onerec.convert import convert
from onerec.errors import ConfigError, DriftError, OneRecError, StorageError
from tests import tiny
from tests.export.test_convert import conversion

DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.fixture
def model(tiny_programme, tmp_path):
    """A copy of the folder that the stages start from."""
    return shutil.copytree(tiny_programme / "expanded" / "model", tmp_path / "model")


def add_one_to_a_norm(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] + 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def started_in(model, config, tmp_path, **changes):
    return conversion(config, model, tmp_path, **changes).model_copy(update={"model_dir": str(model)})


def test_frozen_weights_of_another_folder_are_refused(tiny_programme, model, tmp_path):
    config = tiny.train_config(
        tiny_programme, tmp_path / "one", duration={"max_steps": 1}, trainable={"freeze_llm": True}
    )
    tiny.run(config)
    add_one_to_a_norm(model)
    with pytest.raises(DriftError, match="holds other weights than those that the stage started from, and"):
        convert(started_in(model, tmp_path / "one", tmp_path))
    assert not list((tmp_path / "one" / "step1" / "global_step1").glob("*converted*"))


def test_a_whole_checkpoint_needs_no_weights_beside_the_configuration(copy, model, tmp_path, capsys):
    add_one_to_a_norm(model)
    convert(started_in(model, copy, tmp_path))
    assert "holds other weights than those that the stage started from; its config" in capsys.readouterr().err
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text("{}")
    folder = convert(started_in(model, copy, tmp_path, dtype="fp32"))["model_dir"]
    assert load_file(f"{folder}/model.safetensors").keys() >= {DOWN}
    assert not list((copy / "step3" / "global_step3" / "converted-fp32").glob("*.index.json"))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (shutil.rmtree, r"model/config\.json is missing; give a complete Hugging Face folder"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not JSON"),
        (
            lambda folder: (folder / "config.json").write_text(json.dumps({"model_type": "llama"})),
            r"config\.json is of a llama model, not qwen3",
        ),
    ],
    ids=["gone", "no JSON", "another model"],
)
def test_a_folder_that_is_none_of_a_qwen3_is_told(copy, model, tmp_path, harm, told):
    harm(model)
    with pytest.raises(ConfigError, match=told):
        convert(started_in(model, copy, tmp_path))
    assert not list((copy / "step3" / "global_step3").glob("*converted*"))


def replace(stage_dir, name, value):
    """Write another number into the weights of a committed checkpoint, which stays sound."""
    checkpoint = commit.step_dir(stage_dir, 3)
    folder = commit.data_dir(checkpoint) / "model"
    from onerec.export.locate import ours

    stored = ours(checkpoint).open()
    tensors = {one: torch.empty(stored.shape(one)) for one in stored.names()}
    read(tensors, folder, whose="it", alone=True)
    tensors[name].view(-1)[0] = value
    shutil.rmtree(folder)
    with pytest.warns(UserWarning, match=r"torch\.distributed is disabled"):
        write(tensors, folder)
    record = json.loads((checkpoint / commit.COMMIT_NAME).read_text())
    record["sha256"] |= {
        one: fact.sha256 for one, fact in commit.facts_of(checkpoint, folder.iterdir()).items()
    }
    (checkpoint / commit.COMMIT_NAME).write_text(json.dumps(record))


def test_numbers_that_fp16_cannot_hold_are_told(copy, tiny_programme, tmp_path):
    replace(copy, DOWN, 1e6)
    with pytest.raises(ConfigError, match=rf"{DOWN} has numbers beyond 65,504.*--dtype bf16 or fp32"):
        convert(conversion(copy, tiny_programme, tmp_path, dtype="fp16"))
    convert(conversion(copy, tiny_programme, tmp_path, dtype="bf16"))


def test_weights_that_are_no_numbers_are_told(copy, tiny_programme, tmp_path):
    replace(copy, DOWN, float("nan"))
    with pytest.raises(OneRecError, match="logits that are not finite: its weights hold NaN or infinity"):
        convert(conversion(copy, tiny_programme, tmp_path))


def test_counts_that_were_changed_do_not_reach_the_card(copy, tiny_programme, tmp_path):
    path = copy / "step3" / "global_step3" / "trainer.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"counts": {name: [9, 9] for name in told["counts"]}}))
    with pytest.raises(StorageError, match=r"trainer\.json differs from its digest"):
        convert(conversion(copy, tiny_programme, tmp_path))
