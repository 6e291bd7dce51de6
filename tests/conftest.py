"""Fixtures that several folders of tests share."""

import pytest

from tests import tiny


@pytest.fixture(scope="session")
def tiny_programme(tmp_path_factory):
    """A folder with data, an expanded tied model and a prepared store; read only."""
    return tiny.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_untied(tmp_path_factory):
    """The same with separate embedding and head."""
    return tiny.make(tmp_path_factory.mktemp("tiny-untied"), tied=False)
