"""What checkpoints need: of the parameters that train alone, in their own format."""

import dataclasses
import json

import pytest

from onerec.config.memory import ModelSizes
from runner.disk import StageDisk, disks_of
from runner.manifest import restore

SIZES = ModelSizes(
    hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, intermediate=128, rows=1000, tied=True
)
PARAMETERS, HIDDEN = SIZES.parameters, SIZES.hidden


def manifest(**stage):
    told = {"kind": "train", "dataset": "d", "learning_rate": 1e-3, "keep_checkpoints": 2, **stage}
    document = {"name": "a", "datasets": {"d": {"sources": "d", "max_length": 8}}, "stages": {"s": told}}
    document["stage_order"] = ["s"]
    return restore(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("sizes", "stage", "checkpoint", "kept"),
    [
        (SIZES, {}, 12 * PARAMETERS, 2),
        (SIZES, {"use_fp32_weight": False}, 6 * PARAMETERS, 2),
        (SIZES, {"freeze_llm": True, "start_optimize_embedding_index": 900}, 12 * 100 * HIDDEN, 2),
        (
            dataclasses.replace(SIZES, tied=False),
            {"freeze_llm": True, "start_optimize_embedding_index": 900},
            2 * 12 * 100 * HIDDEN,
            2,
        ),
        (SIZES, {"keep_every": 100, "max_steps": 1000}, 12 * PARAMETERS, 10),
        (SIZES, {"keep_every": 100}, 12 * PARAMETERS, 2),
    ],
)
def test_bytes_of_a_checkpoint_and_how_many_stay(sizes, stage, checkpoint, kept):
    disk = disks_of(manifest(**stage), sizes)["s"]
    assert disk == StageDisk(checkpoint, kept, 2 * sizes.parameters)
    assert disk.peak == checkpoint * (kept + 1) + 2 * sizes.parameters


def test_nothing_is_told_of_an_unknown_model():
    assert disks_of(manifest(), None) == {}
