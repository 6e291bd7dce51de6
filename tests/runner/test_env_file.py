"""The variables of a file of secrets: as shells write them; what is wrong is told without a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.env_file import EnvFileError, variables_of


def test_lines_are_read_as_shells_write_them(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.write_text("# keys\n\nA=1\nexport B='two words'\n C = \"x=y\" \nD=\nE='it''s\"\nA=2\n")

    assert variables_of(str(path)) == {"A": "2", "B": "two words", "C": "x=y", "D": "", "E": "'it''s\""}
    assert variables_of(None) == {}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cluster.env_file {} cannot be read: No such file or directory; correct the path"),
        (b"\xff", "cluster.env_file {} cannot be read: it is not UTF-8; correct the path"),
        (b"A=1\nhf_planted\n", "cluster.env_file {}, line 2 is no NAME=value; correct it"),
        (b"A B=hf_planted", "cluster.env_file {}, line 1 is no NAME=value; correct it"),
        (
            b"MASTER_ADDR=hf_planted",
            "cluster.env_file {}, line 1: MASTER_ADDR is set by the launcher; remove it",
        ),
        (b"A=hf_planted\0", "cluster.env_file {}, line 1: the value holds a NUL; remove it"),
    ],
)
def test_what_is_wrong_is_told_without_a_value(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(EnvFileError) as raised:
        variables_of(str(path))
    assert str(raised.value) == told.format(path)
    assert raised.value.exit_code == 2
