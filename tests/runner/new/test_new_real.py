"""A new manifest for a real model and real rows passes the checks, and its plan can be told."""

from __future__ import annotations

import json
from pathlib import Path

from tests.runner.programme import runner


def test_a_new_manifest_is_ready_to_run(tiny_programme: Path, tmp_path: Path) -> None:
    written = runner(
        tmp_path, "new", tiny_programme / "base" / "model", tiny_programme / "data", "--name", "fresh"
    )
    checked = runner(tmp_path, "check", "fresh.toml", "--json")
    planned = runner(tmp_path, "plan", "fresh.toml", "--json")

    assert (written.returncode, written.stderr) == (0, "")
    assert checked.returncode == 0, checked.stdout
    assert [finding["level"] for finding in json.loads(checked.stdout) if finding["level"] == "error"] == []
    assert [step["name"] for step in json.loads(planned.stdout)["steps"]] == [
        "expand",
        "prepare:pretrain",
        "stage1",
        "stage1:convert",
        "stage2",
        "stage2:convert",
        "test",
    ]
