"""A short trained stage, which the tests of conversion share."""

import shutil
from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture(scope="session")
def stage(tiny_programme, tmp_path_factory):
    """A short trained stage."""
    config = tiny.train_config(
        tiny_programme, tmp_path_factory.mktemp("convert") / "stage", duration={"max_steps": 3}
    )
    tiny.run(config)
    return Path(config["output_dir"])


@pytest.fixture
def copy(stage, tmp_path):
    """A copy of it, without what was converted."""
    shutil.copytree(stage, tmp_path / "stage", ignore=shutil.ignore_patterns("converted*"))
    return tmp_path / "stage"
