"""Fixtures that several folders of tests share."""

import os
import sys
from pathlib import Path

import pytest

from tests import tiny

# programs of the environment that runs the tests, such as its mpirun: nobody has to activate it
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture(scope="session")
def tiny_programme(tmp_path_factory):
    """A folder with data, an expanded tied model and a prepared store; read only."""
    return tiny.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_untied(tmp_path_factory):
    """The same with separate embedding and head."""
    return tiny.make(tmp_path_factory.mktemp("tiny-untied"), tied=False)
