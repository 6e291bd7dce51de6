"""`runner test-model` from the call to the exit code, in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import environment

ROOT = Path(__file__).parents[2]


@pytest.fixture
def called(folder, tmp_path):
    """Call the verb beside a link to the folder, as conversions leave one."""
    (tmp_path / "converted").symlink_to(folder, target_is_directory=True)

    def call(*options):
        command = [sys.executable, "-m", "runner", "test-model", "converted", "--device", "cpu", *options]
        env = environment() | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    return call


def test_a_relative_link_is_tested_and_what_is_not_said_is_exit_code_1(called, folder, tmp_path):
    cases = [
        {"name": "long", "kind": "text", "prompt": "Hello", "expect": ["no model says this"]},
        {"name": "short", "kind": "text", "prompt": "Hello", "max_new_tokens": 2},
    ]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    done = called("--cases", "cases.json", "--max-new-tokens", "5", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"], report["model_dir"]) == (1, False, str(folder))
    assert [(told["name"], told["tokens"]) for told in report["generations"]] == [("long", 5), ("short", 2)]
    told = done.stderr.splitlines()
    assert told[0] == "check 1 of 29: weight files"
    assert told[-1] == (f"error: {folder} failed: generation, long (lacks 'no model says this')")


def test_a_wrong_case_file_is_exit_code_2_before_anything_is_loaded(called, tmp_path):
    (tmp_path / "cases.json").write_text('[{"name": "x", "kind": "text", "promt": "Hello"}]')
    done = called("--cases", "cases.json", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: cases.json: case 1 \"x\": promt: no such key; did you mean 'prompt'?"
    ]
