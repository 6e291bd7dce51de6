"""Determinism reaches torch and its compiler, in the stages that ask for it."""

import json
import subprocess
import sys

import pytest

from onerec.config import TrainConfig
from onerec.train import loop
from tests import tiny


class Reached(Exception):
    """What is looked for has been called."""


def reach(*_args, **_kwargs):
    raise Reached


def test_it_makes_torch_and_its_compiler_deterministic():
    script = (
        "import torch; from onerec.train.determinism import make_deterministic;"
        "make_deterministic();"
        "import torch._inductor.config as inductor;"
        "print(torch.are_deterministic_algorithms_enabled(), inductor.deterministic)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_stage_turns_it_on_before_anything_else_if_it_says_so(monkeypatch, tmp_path, wanted):
    first, later = (
        ("make_deterministic", "process_group") if wanted else ("process_group", "make_deterministic")
    )
    monkeypatch.setattr(loop, first, reach)
    monkeypatch.setattr(loop, later, lambda *_args, **_kwargs: pytest.fail(f"{later} came first"))
    document = tiny.train_config(tmp_path, tmp_path / "stage", compute={"deterministic": wanted})
    with pytest.raises(Reached):
        loop.train(TrainConfig.model_validate_json(json.dumps(document)))
