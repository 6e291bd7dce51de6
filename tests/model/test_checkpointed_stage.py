"""A whole stage trains the same numbers, bit by bit, whatever its activations are recomputed from."""

import json

import pytest

from onerec.config import TrainConfig
from onerec.train.loop import train
from tests import tiny


def stage(folder, name, programme, **compute):
    """The curve of a short stage of one rank."""
    config = tiny.train_config(
        programme,
        folder / name,
        compute={"enable_gradient_checkpointing": True, **compute},
        duration={"packs_per_step": 2, "max_steps": 3},
        checkpoint={"save_checkpoint_per_step": 100, "keep_checkpoints": 1},
    )
    train(TrainConfig.model_validate_json(json.dumps(config)))
    return tiny.curve(config)


@pytest.fixture(scope="module")
def kept(tiny_programme, tmp_path_factory):
    """The curve of a stage that keeps everything."""
    folder = tmp_path_factory.mktemp("kept")
    return stage(folder, "kept", tiny_programme, activation_checkpointing="none")


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_the_curve_does_not_depend_on_what_is_recomputed(kept, tiny_programme, tmp_path, mode):
    curve = stage(tmp_path, mode, tiny_programme, activation_checkpointing=mode)
    assert len(curve) == 3
    assert curve == kept
