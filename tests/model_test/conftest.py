"""A tiny folder to break: tied, or with embedding and head apart."""

import pytest

from tests.model_test import folders


@pytest.fixture
def folder(tiny_programme, tmp_path):
    """A copy of an expanded tied folder."""
    return folders.copy(tiny_programme / "expanded" / "model", tmp_path / "model")


@pytest.fixture
def untied(tiny_untied, tmp_path):
    """A copy of an expanded untied folder."""
    return folders.copy(tiny_untied / "expanded" / "model", tmp_path / "untied")
