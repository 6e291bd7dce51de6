"""The proof of a converted folder fails whenever something in it is not as it should be."""

import json
import os
import shutil
from collections import deque
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from onerec import convert as program
from onerec.convert import convert
from onerec.errors import OneRecError
from onerec.export.logits import prompt_of, walk
from onerec.export.source import FolderWeights
from onerec.model.load import tensor_files
from tests import tiny
from tests.export.test_convert import conversion


@pytest.fixture(scope="module")
def stage(tiny_programme, tmp_path_factory):
    config = tiny.train_config(
        tiny_programme, tmp_path_factory.mktemp("prove") / "stage", duration={"max_steps": 1}
    )
    tiny.run(config)
    return Path(config["output_dir"])


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def swap(tensors):
    one, other = (f"model.layers.{number}.mlp.up_proj.weight" for number in (0, 1))
    tensors[one], tensors[other] = tensors[other], tensors[one]


def theta(folder):
    config = json.loads((folder / "config.json").read_text())
    key = "rope_parameters" if "rope_parameters" in config else "rope_theta"
    edit_config(folder, **{key: {**config[key], "rope_theta": 5e5} if key == "rope_parameters" else 5e5})


FAULTS = {
    "another rope theta": (theta, "other logits"),
    "another epsilon": (lambda folder: edit_config(folder, rms_norm_eps=1e-2), "other logits"),
    "an epsilon that bf16 would hide": (
        lambda folder: edit_config(folder, rms_norm_eps=2e-6),
        "other logits",
    ),
    "a key that no logit shows": (
        lambda folder: edit_config(folder, max_position_embeddings=64),
        "max_position_embeddings is 64, the stage started with 256",
    ),
    "a tokenizer cut off": (
        lambda folder: os.truncate(folder / "tokenizer.json", 100),
        r"tokenizer\.json reads back differently",
    ),
    "one layer less": (
        lambda folder: edit_config(folder, num_hidden_layers=1, layer_types=["full_attention"]),
        r"has model\.layers\.1",
    ),
    "untied": (lambda folder: edit_config(folder, tie_word_embeddings=False), r"lacks lm_head\.weight"),
    "one bit": (
        lambda folder: edit_tensors(
            folder, lambda t: t["model.norm.weight"].view(torch.int16)[:1].bitwise_xor_(1)
        ),
        r"model\.norm\.weight reads back differently",
    ),
    "two tensors exchanged": (
        lambda folder: edit_tensors(folder, swap),
        r"model\.layers\.0\.mlp\.up_proj\.weight reads back differently",
    ),
    "a tensor missing": (
        lambda folder: edit_tensors(folder, lambda t: t.pop("model.norm.weight")),
        r"lacks model\.norm\.weight",
    ),
    "a head beside a tie": (
        lambda folder: edit_tensors(
            folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()})
        ),
        "ties to the embedding",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_no_folder_is_left(stage, tiny_programme, tmp_path, monkeypatch, fault):
    plant, told = FAULTS[fault]
    copy = shutil.copytree(stage, tmp_path / "stage")
    carry = program.carry

    def carry_and_plant(model_dir, folder, **options):
        carry(model_dir, folder, **options)
        plant(folder)

    monkeypatch.setattr(program, "carry", carry_and_plant)
    with pytest.raises(OneRecError, match=told):
        convert(conversion(copy, tiny_programme, tmp_path))
    assert not list((copy / "step1" / "global_step1").glob("*converted*"))
    assert not list((copy / "step1" / "global_step1").glob(".*"))


def test_without_a_fault_the_same_way_ends_well(stage, tiny_programme, tmp_path):
    copy = shutil.copytree(stage, tmp_path / "stage")
    assert "bit-identical" in convert(conversion(copy, tiny_programme, tmp_path))["proved"]["logits"]


def test_the_logits_of_the_proof_are_those_of_the_whole_model(stage, tiny_programme, tmp_path):
    copy = shutil.copytree(stage, tmp_path / "stage")
    folder = convert(conversion(copy, tiny_programme, tmp_path, dtype="fp32"))["model_dir"]
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        whole_TV = model(input_ids=torch.tensor([prompt_of(model.config)])).logits[0]
    weights = FolderWeights(tensor_files(Path(folder)))
    walked_TV = walk(weights, config=model.config, visit=lambda _, pieces: deque(pieces, maxlen=0))
    assert whole_TV.std() > 0.1
    assert torch.allclose(walked_TV, whole_TV, rtol=1e-5, atol=1e-6)
