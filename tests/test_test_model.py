"""The model test passes a sound folder and names what is wrong with a broken one."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from onerec.config import ModelTest, TestModelConfig
from onerec.errors import ConfigError, OneRecError
from onerec.test_model import load_cases
from onerec.test_model import test_model as examine


def told(tmp_path, model_dir, **test):
    return TestModelConfig(
        output_dir=str(tmp_path / "out"), model_dir=str(model_dir), test=ModelTest(max_new_tokens=3, **test)
    )


@pytest.fixture
def broken(tiny_programme, tmp_path):
    """A copy of a sound folder, and a function that changes its tensors."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_programme / "expanded" / "model", folder)

    def change(edit):
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return change


def test_a_sound_folder_passes_every_check(tiny_programme, tmp_path):
    result = examine(told(tmp_path, tiny_programme / "expanded" / "model"))
    assert {check["ok"] for check in result["checks"]} == {True}
    assert {check["name"] for check in result["checks"]} >= {"weights", "forward pass", "generation, chat"}


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (lambda tensors: tensors.pop("model.layers.0.mlp.up_proj.weight"), "weights"),
        (lambda tensors: tensors.update(stray=tensors["model.norm.weight"].clone()), "weights"),
        (
            lambda tensors: tensors.update({"model.norm.weight": tensors["model.norm.weight"][:8].clone()}),
            "weights",
        ),
        (lambda tensors: tensors["model.norm.weight"].fill_(float("nan")), "weights, forward pass"),
    ],
    ids=["missing", "unexpected", "misshapen", "nan"],
)
def test_broken_weights_are_named(broken, tmp_path, edit, name):
    with pytest.raises(OneRecError, match=f"failed: {name}"):
        examine(told(tmp_path, broken(edit)))
    report = json.loads((tmp_path / "out" / "test_report.json").read_text())
    assert not report["checks"][0]["ok"]


def test_a_truncated_file_is_named(broken, tmp_path):
    path = broken(lambda tensors: None) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"model\.safetensors is no whole safetensors file"):
        examine(told(tmp_path, path.parent))


def test_an_expected_substring_that_is_not_said_fails_its_case(tiny_programme, tmp_path):
    path = tmp_path / "cases.json"
    path.write_text(
        json.dumps([{"name": "wish", "kind": "text", "prompt": "a", "expect": ["no model says this"]}])
    )
    with pytest.raises(OneRecError, match="failed: generation, wish"):
        examine(told(tmp_path, tiny_programme / "expanded" / "model", test_cases=str(path)))


@pytest.mark.parametrize(
    "text", ["{", '[{"name": "x", "kind": "text"}]', '[{"name": "x", "kind": "chat", "prompt": "hello"}]']
)
def test_a_broken_case_file_is_refused_with_its_name(tmp_path, text):
    (tmp_path / "cases.json").write_text(text)
    with pytest.raises(ConfigError, match=r"cases\.json"):
        load_cases(tmp_path / "cases.json")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        examine(told(tmp_path, tmp_path))
