"""Conversion: exact casts, shards, a card, and nothing half done."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import metadata_load
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from onerec.checkpoint import archive, commit
from onerec.checkpoint.retention import Retention, prune
from onerec.checkpoint.tensors import read
from onerec.config import ConvertConfig
from onerec.convert import convert
from onerec.errors import ConfigError, StorageError
from onerec.export import locate
from onerec.export.source import open_source
from tests import tiny

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def conversion(stage, programme, tmp_path, **changes):
    return ConvertConfig(
        output_dir=str(tmp_path / "records"),
        stage_dir=str(stage),
        model_dir=str(programme / "expanded" / "model"),
        **changes,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tensor_is_the_cast_of_its_source_and_the_folder_loads(stage, tiny_programme, tmp_path, dtype):
    told = convert(conversion(stage, tiny_programme, tmp_path, dtype=dtype, link=str(tmp_path / "model")))
    target = DTYPES[dtype]
    written = load_file(Path(told["model_dir"]) / "model.safetensors")
    before = load_file(tiny_programme / "expanded" / "model" / "model.safetensors")
    opened = locate.choose(stage, 3).open()
    trained = {name: torch.empty(opened.shape(name)) for name in opened.names()}
    read(trained, commit.step_dir(stage, 3) / "global_step3" / "model", whose="it", alone=True)
    assert set(trained) == set(written) == set(before)
    for name, tensor in trained.items():
        assert torch.equal(written[name], tensor.to(target)), name
        assert not torch.equal(tensor, before[name]), name
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.dtype == target
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template
    carried = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert carried <= {path.name for path in (tmp_path / "model").iterdir()}


def test_frozen_rows_come_from_the_folder_that_the_stage_started_from(tiny_untied, tmp_path):
    config = tiny.train_config(
        tiny_untied, tmp_path / "one", duration={"max_steps": 2}, trainable={"freeze_llm": True}
    )
    tiny.run(config)
    written = load_file(tiny.export(config, tiny_untied) / "model.safetensors")
    before = load_file(tiny_untied / "expanded" / "model" / "model.safetensors")
    opened = locate.choose(tmp_path / "one", None).open()
    assert {name.rpartition(".")[2] for name in opened.names()} == {"itemic_rows"}
    for name, tensor in before.items():
        new = (
            opened.shape(name.replace("weight", "itemic_rows"))[0]
            if name.endswith(("tokens.weight", "head.weight"))
            else 0
        )
        kept = len(tensor) - new
        assert torch.equal(written[name][:kept], tensor[:kept].float()), name
        assert not new or not torch.equal(written[name][kept:], tensor[kept:].float()), name


def test_the_card_tells_where_the_model_comes_from(copy, tiny_programme, tmp_path):
    manifest = tmp_path / "manifest.toml"
    manifest.write_text('name = "a"\n')
    config = conversion(copy, tiny_programme, tmp_path, base_model="Qwen3: 0.6B", manifest=str(manifest))
    folder = Path(convert(config)["model_dir"])
    told = (folder / "README.md").read_text()
    rows = tiny.metrics({"output_dir": str(copy)})
    record = json.loads((folder / "conversion.json").read_text())
    front = metadata_load(folder / "README.md")
    assert (front["base_model"], front["pipeline_tag"]) == ("Qwen3: 0.6B", "text-generation")
    for text in (
        "| base model | Qwen3: 0.6B |",
        "| optimizer step | 3 |",
        f"| tokens read | {sum(row['tokens'] for row in rows):,} |",
        f"| samples read | {sum(row['samples'] for row in rows):,} |",
        f"| data fingerprint | {record['data_fingerprint']} |",
        "manifest.toml, sha256 ",
        "bit-identical",
        "<|sid_begin|><s_a_0><s_b_0><s_c_0><|sid_end|>",
    ):
        assert text in told
    assert str(tmp_path) not in told
    assert set(record["proved"]) == {"tensors", "logits", "loading", "files"}
    assert str(tmp_path) not in json.dumps(record)


def test_a_second_conversion_does_nothing(stage, tiny_programme, tmp_path):
    config = conversion(stage, tiny_programme, tmp_path, dtype="fp32")
    folder = Path(convert(config)["model_dir"])
    before = (folder / "model.safetensors").stat().st_mtime_ns
    convert(config)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_shards_of_a_bounded_size_have_an_index_and_load(copy, tiny_programme, tmp_path):
    folder = convert(conversion(copy, tiny_programme, tmp_path, max_shard_gigabytes=4e-5))["model_dir"]
    index = json.loads((Path(folder) / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 352


def test_a_step_that_is_not_there_lists_those_that_are(stage, tiny_programme, tmp_path):
    with pytest.raises(ConfigError, match="no complete checkpoint of step 4000; steps there: 3"):
        convert(conversion(stage, tiny_programme, tmp_path, step=4000))


@pytest.mark.parametrize("harm", ["cut", "flip", "missing", "swapped"])
def test_a_damaged_checkpoint_is_named_and_not_converted(copy, tiny_programme, tmp_path, harm):
    shard = next((copy / "step3" / "global_step3" / "model").glob("*.distcp"))
    data = shard.read_bytes()
    if harm == "missing":
        shard.unlink()
    elif harm == "swapped":
        shutil.copyfile(next((copy / "step3" / "global_step3" / "optimizer").glob("*.distcp")), shard)
    else:
        middle = len(data) // 2
        shard.write_bytes(
            data[:-1] if harm == "cut" else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        )
    with pytest.raises(StorageError, match=str(shard)):
        convert(conversion(copy, tiny_programme, tmp_path))
    assert not list((copy / "step3" / "global_step3").glob("*converted*"))


def test_a_folder_of_another_vocabulary_is_told(stage, tiny_programme, tmp_path):
    other = tmp_path / "model"
    shutil.copytree(tiny_programme / "expanded" / "model", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "vocab_size": 368}))
    with pytest.raises(
        ConfigError,
        match=r"embed_tokens\.weight has shape \(352, 32\).*\(368, 32\).*another model or vocabulary",
    ):
        convert(
            conversion(stage, tiny_programme, tmp_path, dtype="fp16", step=3).model_copy(
                update={
                    "model_dir": str(other),
                    "output_dir": str(tmp_path),
                    "stage_dir": str(
                        shutil.copytree(stage, tmp_path / "s", ignore=shutil.ignore_patterns("converted*"))
                    ),
                }
            )
        )


def test_a_checkpoint_that_is_being_converted_is_not_pruned(copy, tiny_programme, tmp_path, monkeypatch):
    pruned = []

    def while_writing(*arguments, **options):
        shutil.copytree(copy / "step3", copy / "step4", ignore=shutil.ignore_patterns("*converted*"))
        pruned.extend(prune(copy, Retention(1)))
        return open_source(*arguments, **options)

    monkeypatch.setattr("onerec.convert.open_source", while_writing)
    convert(conversion(copy, tiny_programme, tmp_path, step=3))
    assert pruned == []
    assert (copy / "step3" / "global_step3" / "converted" / "conversion.json").exists()


def test_a_checkpoint_that_was_pruned_before_its_conversion_began_is_told(
    copy, tiny_programme, tmp_path, monkeypatch
):
    def choose(*arguments):
        located = locate.choose(*arguments)
        shutil.rmtree(copy / "step3")
        return located

    monkeypatch.setattr("onerec.convert.choose", choose)
    with pytest.raises(ConfigError, match="removed in the meantime; convert another step"):
        convert(conversion(copy, tiny_programme, tmp_path))
    assert not (copy / "step3").exists()


def test_killed_at_any_moment_there_is_a_whole_folder_or_none(copy, tiny_programme, tmp_path):
    config = conversion(copy, tiny_programme, tmp_path, dtype="fp32")
    whole = Path(
        convert(
            conversion(shutil.copytree(copy, tmp_path / "whole"), tiny_programme, tmp_path, dtype="fp32")
        )["model_dir"]
    )
    program = (
        "import sys, onerec.convert\n"
        "from onerec.config import ConvertConfig\n"
        "print('ready', flush=True)\n"
        "onerec.convert.convert(ConvertConfig.model_validate_json(sys.argv[1]))\n"
    )
    pick, target = random.Random(3), copy / "step3" / "global_step3" / "converted-fp32"
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", program, config.model_dump_json()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=tiny.environment(),
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pick.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if target.exists():
            assert (target / "conversion.json").exists()
            shutil.rmtree(target)
    convert(config)
    assert (target / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert sorted(path.name for path in target.parent.glob("*converted*")) == ["converted-fp32"]
    assert not list(target.parent.glob(".*"))


@pytest.mark.parametrize("block", [1 << 9, 3000])
def test_how_much_is_read_at_a_time_changes_nothing(copy, tiny_programme, tmp_path, monkeypatch, block):
    monkeypatch.setattr(archive, "BLOCK_BYTES", block)  # the proof reads as much as ever: the sizes differ
    told = convert(conversion(copy, tiny_programme, tmp_path, dtype="fp32"))
    assert "bit-identical" in told["proved"]["logits"]
