"""`check` refuses a batch that cannot fit into the GPUs of this host, before anything starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runner.manifest import Manifest, load
from runner.memories import memories_of
from runner.preflight.memory import check_memory, memory_figures
from tests.runner.programme import runner
from tests.runner.test_gpus import put_nvidia_smi

MANIFEST = """\
name = "demo"

[model]
base_model_dir = "Qwen3"

[cluster]
launcher = "torchrun"
nproc_per_node = 1

[datasets.pretrain]
sources = "rows"
max_length = 32768

[training]
learning_rate = 1e-3

[stages.expand]
kind = "expand_vocab"

[stages.stage1]
kind = "train"
dataset = "pretrain"
freeze_llm = true

[stages.stage2]
kind = "train"
dataset = "pretrain"
"""

QWEN3_8B = {
    "hidden_size": 4096,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "tie_word_embeddings": False,
    "vocab_size": 151936,
}
H200 = "NVIDIA H200, 143771 MiB, 570.86.15\n"


@pytest.fixture(autouse=True)
def _manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Qwen3").mkdir()
    Path("Qwen3/config.json").write_text(json.dumps(QWEN3_8B), encoding="utf-8")


def manifest(*changes: tuple[str, str]) -> Manifest:
    text = MANIFEST
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("m.toml").write_text(text, encoding="utf-8")
    return load("m.toml").manifest


def told(*changes: tuple[str, str]) -> list[str]:
    return [str(finding) for finding in check_memory(memories_of(manifest(*changes), env={}))]


def ranks(number: int) -> tuple[str, str]:
    return "nproc_per_node = 1", f"nproc_per_node = {number}"


def test_a_stage_that_cannot_fit_is_an_error_with_the_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, H200)
    line = told()[-1]
    assert line.startswith("error: stages.stage2: a rank needs about 1")
    assert line.endswith(
        "GB even with full activation checkpointing, and NVIDIA H200 has 150.8 GB; "
        "lower max_length or minibatch_size, use more GPUs"
    )
    assert told(ranks(8)) == []


def test_with_a_copy_on_each_host_sharding_over_all_is_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, "NVIDIA L40S, 40000 MiB, 570\n")
    Path("hosts").write_text("a slots=4\nb slots=4\n", encoding="utf-8")
    lines = told(ranks(4), ('launcher = "torchrun"', 'launcher = "torchrun"\nhostfile = "hosts"'))
    assert lines[-1].startswith("warning: ")  # nobody has seen the GPUs of the other host
    assert lines[-1].endswith('use more GPUs, or write sharding = "full"')


def test_gpus_are_those_that_the_ranks_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, "GPU, 2048 MiB, 570\n" + H200 * 8)
    chosen = ",".join(map(str, range(1, 9)))
    cluster = f'nproc_per_node = 8\nenv = {{ CUDA_VISIBLE_DEVICES = "{chosen}" }}'
    assert told(("nproc_per_node = 1", cluster)) == []
    assert told(ranks(9))[-1].startswith("error: stages.stage2")


def test_a_model_that_is_expanded_already_keeps_its_rows() -> None:
    before = memories_of(manifest(), env={})["stage2"].needed.weights
    Path("Qwen3/onerec_vocab.json").write_text("{}", encoding="utf-8")
    assert memories_of(manifest(), env={})["stage2"].needed.weights < before


def test_what_nearly_fits_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = memories_of(manifest(), env={})["stage2"].by_mode["full"]
    put_nvidia_smi(tmp_path, monkeypatch, f"GPU, {int(needed / 0.95) >> 20} MiB, 570\n")
    (line,) = told()
    assert line.startswith("warning: stages.stage2: a rank needs about ")
    assert ", 95% of memory: GPU has " in line
    assert "activation_checkpointing" not in line


def test_keeping_everything_by_choice_where_recomputing_fits_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, H200)
    fixed = ('kind = "train"\n', 'kind = "train"\nactivation_checkpointing = "none"\n')
    lines = told(ranks(8), fixed)
    assert [line.partition(": a rank")[0] for line in lines] == ["warning: stages.stage2"]
    assert 'write activation_checkpointing = "auto", lower max_length' in lines[0]


def test_without_a_gpu_nothing_is_refused_and_the_need_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told() == []
    figures = [str(finding) for finding in memory_figures(memories_of(manifest(), env={}))]
    assert [line.partition("; ")[0].split(": ")[:2] for line in figures] == [
        ["info", "stages.stage1"],
        ["info", "stages.stage2"],
    ]
    assert all("(to be compared when a GPU is known)" in line for line in figures)


def test_a_model_whose_sizes_are_not_told_and_a_broken_hostfile_are_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, H200)
    hostless = ('launcher = "torchrun"', 'launcher = "torchrun"\nhostfile = "gone"')
    assert memories_of(manifest(hostless), env={}) == {}
    Path("Qwen3/config.json").write_text("{}", encoding="utf-8")
    assert memories_of(manifest(), env={}) == {}


def test_stage_1_trains_from_the_row_that_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    written = ("freeze_llm = true", "freeze_llm = true\nstart_optimize_embedding_index = 176540")
    default, late = (memories_of(manifest(*some), env={})["stage1"] for some in ((), (written,)))
    rows = 100
    assert late.needed.optimizer == 2 * 4 * rows * 2 * 4096
    assert default.needed.optimizer > 200 * late.needed.optimizer


def test_plan_and_check_show_what_every_gpu_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    manifest()
    (tmp_path / "bin").mkdir()
    path = os.environ["PATH"]
    put_nvidia_smi(tmp_path / "bin", monkeypatch, H200)
    monkeypatch.setenv("PATH", path)
    bin_dir = str(tmp_path / "bin")

    text = runner(tmp_path, "plan", "m.toml", path=bin_dir).stdout
    assert text.count("      memory  about ") == 2
    document = json.loads(runner(tmp_path, "plan", "m.toml", "--json", path=bin_dir).stdout)
    memories = {step["name"]: step["memory"] for step in document["steps"]}
    assert {name for name, found in memories.items() if found} == {"stage1", "stage2"}
    assert memories["stage2"]["gpu_bytes"] == 143771 << 20
    refused = runner(tmp_path, "check", "m.toml", path=bin_dir)
    assert refused.returncode == 3
    assert "error: stages.stage2: a rank needs about" in refused.stdout
    assert "info: stages.stage1: memory: about " in refused.stdout
