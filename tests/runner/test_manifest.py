"""A manifest is understood whole, or every fault of it is told at once with place and remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from onerec.config import Dataset, StageSource, Training, Vocab, class_of
from runner.faults import Fault
from runner.manifest import Manifest, ManifestError, dump, load, restore
from runner.tables import (
    BuildDataStage,
    Cluster,
    ExpandVocabStage,
    InitModelStage,
    Model,
    TestModelStage,
    TrainStage,
)

WRITTEN = """\
name = "demo"

[model]
base_model_dir = "models/Qwen3"

[vocab]
vocab_size_per_layer = 64

[cluster]
launcher = "torchrun"
nproc_per_node = 2

[datasets.pretrain]
sources = { stage = "data", name = "pretrain" }
max_length = 2048

[datasets.sft]
sources = ["more/*.parquet", "s3://bucket/sft/"]

[training]
min_lr = 1e-5

[stages.data]
kind = "build_data"
source = "movielens-100k"

[stages.expand]
kind = "expand_vocab"

[stages.stage1]
kind = "train"
dataset = "pretrain"
freeze_llm = true
learning_rate = 1e-3

[stages.sft]
kind = "train"
dataset = "sft"
learning_rate = 1e-4

[stages.test]
kind = "test_model"
heldout = { stage = "data", name = "test" }
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def faults_of(text: str | bytes, overrides: tuple[str, ...] = ()) -> list[Fault]:
    Path("m.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ManifestError) as raised:
        load("m.toml", overrides)
    return list(raised.value.faults)


def headlines(text: str | bytes, overrides: tuple[str, ...] = ()) -> list[str]:
    return [str(fault).splitlines()[0] for fault in faults_of(text, overrides)]


def wrong(old: str, new: str, *told: str) -> object:
    """A case: the manifest with `old` replaced by `new`, and everything that is to be told about it."""
    assert WRITTEN.count(old) == 1
    return pytest.param(WRITTEN.replace(old, new), list(told), id=new.strip().splitlines()[-1][:50])


def added(text: str, *told: str) -> object:
    """A case: the manifest with `text` after its end (line 44 is its last)."""
    return pytest.param(WRITTEN + text, list(told), id=text.strip().splitlines()[-1][:50])


CASES = [
]
