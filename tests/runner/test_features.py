"""The table of features in README.md beside this file names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_all_59_features_are_there_and_each_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", (HERE / "README.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 60))
    named = [name for _, cell in rows for name in re.findall(r"`([^`]+\.py(?:::\w+)?)`", cell)]
    assert len(named) >= 59
    assert [name for name in named if not exists(name)] == []


def exists(name: str) -> bool:
    file, _, function = name.partition("::")
    path = HERE / file
    return path.is_file() and (not function or f"def {function}(" in path.read_text())
