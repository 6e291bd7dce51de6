"""Stage 1 from any row on: trained, saved, gone on with and exported, and only its rows are ever written."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from onerec.checkpoint import commit
from onerec.checkpoint.tensors import SafeReader
from onerec.config import ConvertConfig, TrainConfig
from onerec.convert import convert
from onerec.distributed import World, process_group
from onerec.errors import ConfigError
from onerec.model import build
from onerec.train.loop import train
from onerec.train.session import open_session
from tests import tiny

ROWS, WIDTH = 352, 32
TABLES = {True: ["model.embed_tokens"], False: ["model.embed_tokens", "lm_head"]}


def run(config):
    """Train a stage to its end in this process."""
    Path(config["output_dir"]).mkdir(parents=True, exist_ok=True)
    try:
        return train(TrainConfig.model_validate_json(json.dumps(config)))
    finally:
        if dist.is_initialized():  # an error leaves the group as it is: the process is expected to end
            dist.destroy_process_group()


def stage_one(folder, output_dir, *, first_row=None, max_steps=2, **changes):
    """The config of a stage that trains the rows from `first_row` on."""
    trainable = {"freeze_llm": True, "start_optimize_embedding_index": first_row}
    changes = {"duration": {"packs_per_step": 4, "max_steps": max_steps}, "trainable": trainable, **changes}
    return tiny.train_config(folder, output_dir, **changes)


def exported(config, dtype="fp32"):
    stage_dir = Path(config["output_dir"])
    told = convert(
        ConvertConfig(
            output_dir=str(stage_dir / "convert"),
            stage_dir=str(stage_dir),
            model_dir=config["model"]["model_dir"],
            dtype=dtype,
        )
    )
    return load_file(Path(told["model_dir"]) / "model.safetensors")


def stored(folder):
    return load_file(folder / "expanded" / "model" / "model.safetensors")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("first_row", [0, 1, 176, 320, ROWS - 1])
def test_from_any_row_on_rows_train_go_on_and_are_exported(
    tiny_programme, tiny_untied, tmp_path, tied, first_row
):
    folder = tiny_programme if tied else tiny_untied
    whole = stage_one(folder, tmp_path / "whole", first_row=first_row)
    run(whole)
    halves = stage_one(folder, tmp_path / "halves", first_row=first_row, max_steps=1)
    run(halves)
    run(stage_one(folder, tmp_path / "halves", first_row=first_row))
    assert tiny.curve(halves) == tiny.curve(whole)
    before, after, resumed = stored(folder), exported(whole), exported(halves)
    assert set(after) == set(before)
    tables = {f"{table}.weight" for table in TABLES[tied]}
    for name, tensor in before.items():
        kept = first_row if name in tables else None
        assert torch.equal(after[name][:kept], tensor[:kept]), name
        assert torch.equal(resumed[name], after[name]), name
    # of an embedding alone, only the rows of tokens that were read have a gradient
    head = f"{TABLES[tied][-1]}.weight"
    assert (after[head][first_row:] != before[head][first_row:]).any(dim=1).all()


@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_holds_the_rows_their_moments_and_nothing_else(
    tiny_programme, tiny_untied, tmp_path, tied
):
    folder, rows = tiny_programme if tied else tiny_untied, 52
    config = stage_one(folder, tmp_path / "stage", first_row=ROWS - rows, max_steps=1)
    run(config)
    data = commit.data_dir(commit.step_dir(tmp_path / "stage", 1))
    names = {f"{table}.itemic_rows" for table in TABLES[tied]}
    moments = {f"{name}.{moment}" for name in names for moment in ("exp_avg", "exp_avg_sq")}
    for part, expected in {"model": names, "optimizer": moments}.items():
        metadata = SafeReader(data / part).read_metadata().state_dict_metadata
        assert {name: tuple(entry.size) for name, entry in metadata.items()} == dict.fromkeys(
            expected, (rows, WIDTH)
        )
        written = sum(path.stat().st_size for path in (data / part).glob("*.distcp"))
        needed = len(expected) * rows * WIDTH * 4
        assert needed <= written < needed + 2000 * len(expected)  # a zip of each tensor around its bytes


def test_frozen_weights_in_bf16_give_the_numbers_of_frozen_weights_in_fp32(
    tiny_programme, tmp_path, monkeypatch
):
    compute = {"compute_dtype": "bf16"}
    ours = stage_one(tiny_programme, tmp_path / "ours", compute=compute)
    run(ours)
    monkeypatch.setattr(build, "compute_dtype", lambda *_: torch.float32)
    fp32 = stage_one(tiny_programme, tmp_path / "fp32", compute=compute)
    run(fp32)
    assert tiny.curve(ours) == tiny.curve(fp32)
    one, other = exported(ours), exported(fp32)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_pure_bf16_is_bf16_from_the_rows_to_the_checkpoint_and_the_export(tiny_programme, tmp_path):
    compute = {"use_fp32_weight": False, "use_fp32_reduce": False, "compute_dtype": "bf16"}
    config = stage_one(tiny_programme, tmp_path / "stage", compute=compute, max_steps=1)
    run(config)
    run(stage_one(tiny_programme, tmp_path / "stage", compute=compute))
    assert [row["step"] for row in tiny.metrics(config)] == [1, 2]
    data = commit.data_dir(commit.step_dir(tmp_path / "stage", 2))
    for part in ("model", "optimizer"):
        metadata = SafeReader(data / part).read_metadata().state_dict_metadata
        assert {entry.properties.dtype for entry in metadata.values()} == {torch.bfloat16}
    before, after = stored(tiny_programme), exported(config)
    name, first_row = "model.embed_tokens.weight", 320
    assert torch.equal(after[name][:first_row], before[name][:first_row])
    assert (after[name][first_row:] != before[name][first_row:]).any(dim=1).all()
    rows_RD = after[name][first_row:]
    assert torch.equal(rows_RD, rows_RD.to(torch.bfloat16).float())


def test_a_frozen_parameter_that_the_folder_lacks_is_refused_even_if_random_ones_are_allowed(
    tiny_untied, tmp_path
):
    model_dir = tmp_path / "expanded" / "model"
    model_dir.mkdir(parents=True)
    for path in (tiny_untied / "expanded" / "model").iterdir():
        (model_dir / path.name).write_bytes(path.read_bytes())
    save_file(
        {name: tensor for name, tensor in stored(tiny_untied).items() if name != "lm_head.weight"},
        model_dir / "model.safetensors",
    )
    given = {"model": {"model_dir": str(model_dir)}}
    config = stage_one(tiny_untied, tmp_path / "stage", **given)
    config["trainable"]["allow_random_init_params"] = True
    with pytest.raises(ConfigError, match=r"lacks lm_head\.weight, which freeze_llm would leave at random"):
        run(config)


def test_a_table_without_a_row_for_every_itemic_token_is_refused(tiny_programme, tmp_path):
    model_dir = tmp_path / "expanded" / "model"
    model_dir.mkdir(parents=True)
    for path in (tiny_programme / "expanded" / "model").iterdir():
        (model_dir / path.name).write_bytes(path.read_bytes())
    told = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps(told | {"vocab_size": 345}))
    config = tiny.train_config(
        tiny_programme,
        tmp_path / "stage",
        model={"model_dir": str(model_dir)},
        trainable={"freeze_llm": True},
    )
    with pytest.raises(ConfigError, match=r"345 rows hold no id 345; put a stage .*expand_vocab"):
        run(config)


def test_mfu_counts_the_rows_that_train(tiny_untied, tmp_path):
    config = stage_one(tiny_untied, tmp_path / "stage", first_row=300)
    Path(config["output_dir"]).mkdir()
    world = World(0, 1, 0, 1, "single")
    with process_group(world, device=torch.device("cpu"), env={}):
        told = TrainConfig.model_validate_json(json.dumps(config))
        session = open_session(told, world=world, device=torch.device("cpu"))
        assert session.trained_rows == ROWS - 300
