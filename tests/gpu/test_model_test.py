"""The model test on a device: in the format of the files on a GPU, in fp32 on the CPU, and sound on both."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from onerec.config import ModelTest, TestModelConfig
from onerec.model_test.program import test_model as examine
from tests.model_test.folders import copy, document


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_folder_is_sound_wherever_it_is_tested(device, dtype, tiny_programme, tmp_path):
    folder = copy(tiny_programme / "expanded" / "model", tmp_path / "model")
    spelled = str(dtype).removeprefix("torch.")
    held = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor.to(dtype) for name, tensor in held.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    with document(folder / "config.json") as settings:
        settings["dtype"] = spelled
    told = TestModelConfig(
        output_dir=str(tmp_path / "out"),
        model_dir=str(folder),
        test=ModelTest(max_new_tokens=8),
        device=device.type,
    )
    result = examine(told)
    assert {check["status"] for check in result["checks"]} == {"ok", "note"}
    [loaded] = [check["detail"] for check in result["checks"] if check["name"] == "loaded"]
    ran_in = "float32" if device.type == "cpu" else spelled
    assert loaded.startswith(f"24 tensors equal to the files, {ran_in} on ")
