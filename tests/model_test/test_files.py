"""Every fault of weight files and configuration is told by the check that is there for it."""

import pytest
import torch

from tests.model_test.folders import ALWAYS, document, found, split, tensors, unusual

UP, NORM = "model.layers.0.mlp.up_proj.weight", "model.norm.weight"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def test_a_missing_tensor_is_named_and_nothing_is_run(folder):
    with tensors(folder) as held:
        del held[UP]
    checks = found(folder)
    assert unusual(checks) == {"no tensor missing": "failed"}
    assert checks["no tensor missing"].detail == f"{UP} is in no file"
    assert checks["forward, text"].detail == "'no tensor missing' failed"


def test_an_unknown_tensor_is_named_with_its_file(folder):
    with tensors(folder) as held:
        held["stray"] = torch.ones(2)
    checks = found(folder)
    assert unusual(checks) == {"no tensor unknown": "failed", "loaded": "failed"}
    assert checks["no tensor unknown"].detail == "stray in model.safetensors is none of the model's"


def test_a_misshapen_tensor_is_named_with_both_shapes(folder):
    with tensors(folder) as held:
        held[NORM] = held[NORM][:8].clone()
    checks = found(folder)
    assert unusual(checks) == {"shapes": "failed"}
    assert checks["shapes"].detail == f"{NORM} in model.safetensors has shape (8,), config.json says (32,)"


def test_a_cut_file_is_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    checks = found(folder)
    assert unusual(checks) == {"weight files": "failed"}
    assert f"{path} is damaged" in checks["weight files"].detail


def test_a_sound_index_passes(folder):
    split(folder)
    assert unusual(found(folder)) == ALWAYS


def _forget(folder, places):
    del places[UP]
    return f"{UP} is in model-00001-of-00002.safetensors, model.safetensors.index.json says nothing"


def _misplace(folder, places):
    places[UP] = "model-00002-of-00002.safetensors"
    return (
        f"{UP} is in model-00001-of-00002.safetensors, "
        "model.safetensors.index.json says model-00002-of-00002.safetensors"
    )


def _invent(folder, places):
    places["ghost"] = "model-00002-of-00002.safetensors"
    return "ghost is in no file, model.safetensors.index.json says model-00002-of-00002.safetensors"


def _lose(folder, places):
    (folder / "model-00002-of-00002.safetensors").unlink()
    return f"{folder} lacks model-00002-of-00002.safetensors"


def _leave_another(folder, places):
    other = folder / "model-00001-of-00002.safetensors"
    (folder / "model.safetensors").write_bytes(other.read_bytes())
    return "model.safetensors and model.safetensors.index.json are both there"


@pytest.mark.parametrize("spoil", [_forget, _misplace, _invent, _lose, _leave_another])
def test_an_index_that_does_not_fit_its_files_is_told(folder, spoil):
    split(folder)
    with document(folder / "model.safetensors.index.json") as index:
        told = spoil(folder, index["weight_map"])
    checks = found(folder)
    assert unusual(checks) == {"weight files": "failed"}
    assert told in checks["weight files"].detail


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', "{}"])
def test_an_index_that_is_none_is_told(folder, text):
    split(folder)
    (folder / "model.safetensors.index.json").write_text(text)
    checks = found(folder)
    assert checks["weight files"].status == "failed"
    assert "model.safetensors.index.json" in checks["weight files"].detail


def test_a_weight_file_that_nobody_reads_is_a_note(folder):
    (folder / "old.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    checks = found(folder)
    assert unusual(checks) == {"weight files": "note"} | ALWAYS
    assert "nobody reads old.safetensors" in checks["weight files"].detail


def test_a_tied_folder_with_another_head_fails(folder):
    with tensors(folder) as held:
        held[HEAD] = held[EMBEDDING] + 1
    checks = found(folder)
    assert checks["tied head"].status == "failed"
    assert f"other than {EMBEDDING}" in checks["tied head"].detail


def test_a_tied_folder_with_a_copy_of_the_table_is_a_note(folder):
    with tensors(folder) as held:
        held[HEAD] = held[EMBEDDING].clone()
    assert unusual(found(folder)) == {"tied head": "note"} | ALWAYS


def test_an_untied_folder_is_sound_with_its_head_and_fails_without(untied):
    assert unusual(found(untied)) == ALWAYS
    with tensors(untied) as held:
        del held[HEAD]
    assert unusual(found(untied)) == {"tied head": "failed", "no tensor missing": "failed"}


def test_a_tensor_in_another_format_is_named(folder):
    with tensors(folder) as held:
        held[UP] = held[UP].half()
    checks = found(folder)
    assert unusual(checks) == {"number format": "failed"} | ALWAYS
    assert checks["number format"].detail == f"{UP} in model.safetensors is float16, config.json says float32"


def test_a_format_that_is_not_known_is_named(folder):
    with tensors(folder) as held:
        held[UP] = held[UP].double()
    assert "is F64, and the model test knows BF16, F16, F32" in found(folder)["number format"].detail


@pytest.mark.parametrize(("told", "status"), [("bfloat16", "failed"), (None, "note")])
def test_the_format_that_the_configuration_names_counts(folder, told, status):
    with document(folder / "config.json") as settings:
        settings["dtype"] = told
    assert found(folder)["number format"].status == status


@pytest.mark.parametrize("change", [{"num_attention_heads": 0}, {"hidden_size": "wide"}])
def test_sizes_of_no_model_are_told(folder, change):
    with document(folder / "config.json") as settings:
        settings.update(change)
    checks = found(folder)
    assert unusual(checks) == {"model sizes": "failed"}
    assert f"{folder / 'config.json'}" in checks["model sizes"].detail
