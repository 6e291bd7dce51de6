"""The command line, called as a person calls it."""

from __future__ import annotations

import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from runner.cli.arguments import VERBS
from runner.cli.say import ENTER_SCREEN, HOME, LEAVE_SCREEN
from runner.rundir import RunDir
from tests.runner.programme import (
    STEPS,
    environment,
    runner,
    start_runner,
    wait_until,
    write_manifest,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the programme came to its end; read only."""
    folder = tmp_path_factory.mktemp("finished")
    ended = runner(folder, write_manifest(folder))
    # the story of a run is what was asked for, and so on stdout; stderr is for what is wrong
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("run small in ")
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, tmp_path: Path) -> None:
    told = runner(tmp_path, verb, "--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert f"usage: runner {verb}" in told.stdout


def test_without_arguments_the_verbs_are_listed(tmp_path: Path) -> None:
    told = runner(tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert all(f"\n  {verb} " in told.stdout for verb in VERBS)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.toml"], 2, "error: none.toml: cannot be read: No such file or directory"),
        (["status"], 2, "error: no run at runs/latest; name a run directory, or start one"),
        (["resume", "nowhere"], 2, "error: no run at nowhere or runs/nowhere"),
        (["convert"], 2, "no run at runs/latest"),
        (["test-model", "nowhere"], 2, "error: nowhere is no folder"),
    ],
)
def test_a_wrong_call_gets_one_message_and_no_traceback(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    ended = runner(tmp_path, *arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_traceback_is_shown_on_request(tmp_path: Path) -> None:
    assert "Traceback" in runner(tmp_path, "none.toml", "--traceback").stderr


def test_everything_missing_is_told_at_once_before_anything_starts(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path)
    changes = ["stages.base.tokenizer_dir=/none", "stages.test.test_cases=/none.json"]
    ended = runner(tmp_path, manifest, *(part for change in changes for part in ("--set", change)))
    assert ended.returncode == 3
    assert "error: stages.base.tokenizer_dir: /none/tokenizer.json is not there" in ended.stderr
    assert "error: stages.test.test_cases: /none.json is not there" in ended.stderr
    assert not (tmp_path / "runs").exists()
    checked = runner(tmp_path, "check", manifest, "--json", "--fast", "--set", changes[0])
    assert checked.returncode == 3
    assert [finding["place"] for finding in json.loads(checked.stdout)] == ["stages.base.tokenizer_dir"]


def test_the_plan_tells_what_would_be_done_and_changes_nothing(tmp_path: Path, finished: Path) -> None:
    manifest = write_manifest(tmp_path)
    document = json.loads(runner(tmp_path, "plan", manifest, "--json").stdout)
    assert [(step["name"], step["action"]) for step in document["steps"]] == [
        (name, "start") for name in STEPS
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.toml"]

    document = json.loads(runner(finished, "plan", finished / "small.toml", "--json").stdout)
    assert {step["action"] for step in document["steps"]} == {"skip"}
    text = runner(finished, "plan", finished / "small.toml", "--set", "stages.first.max_steps=3").stdout
    assert "5. first (train): DRIFTED, its settings or inputs changed" in text


def test_the_shown_command_is_the_one_that_runs(finished: Path) -> None:
    text = runner(finished, "plan", finished / "small.toml").stdout
    shown = next(line for line in text.splitlines() if line.endswith("first/config.json"))
    events = [json.loads(line) for line in RunDir(finished / "runs/small").events.read_text().splitlines()]
    ran = next(event["argv"][0] for event in events if event.get("step") == "first")
    assert shown.split()[1:] == [word.replace("attempt-1", "attempt-2") for word in ran]


def test_the_status_has_the_fixed_form(finished: Path) -> None:
    document = json.loads(runner(finished, "status", "--json").stdout)
    assert list(document)[:4] == ["schema_version", "run", "state", "stages"]
    assert (document["schema_version"], document["run"], document["state"]) == (1, "small", "done")
    first = document["stages"][4]
    fixed = {
        "name": "first",
        "kind": "train",
        "state": "done",
        "step": 20,
        "total_steps": 20,
        "loss": 0.05,
        "tokens_per_second": 10.0,
        "eta_seconds": None,
        "latest_checkpoint": "step20",
        "attempts": 1,
        "reason": None,
    }
    assert {key: first[key] for key in fixed} == fixed
    assert "run small: done" in runner(finished, "status", "small").stdout


def test_status_and_plan_answer_fast_and_without_torch(finished: Path, tmp_path: Path) -> None:
    """Processor seconds of the best of five, for the machine may be busy; the limits are documented."""
    shutil.copytree(finished, tmp_path / "long", symlinks=True)
    row = {
        "step": 1,
        "loss": 0.5,
        "tokens_per_second": 10.0,
        "source_loss": {"a source": 1 / 3},
        "more": "x" * 300,
    }
    with RunDir(tmp_path / "long" / "runs" / "small").stage("first").metrics.open("a") as file:
        file.writelines(json.dumps({**row, "step": step}) + "\n" for step in range(21, 100_000))
    for folder, arguments, limit in (
        (finished, ["status"], 0.25),
        (tmp_path / "long", ["status"], 0.25),
        (finished, ["plan", "small.toml"], 0.6),
    ):
        times = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert runner(folder, *arguments).returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert min(times) < limit
        loaded = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "runner", *arguments],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in loaded.splitlines()}
        assert "torch" not in modules
        assert not modules & {"pydantic", "rich", "jinja2"} or arguments != ["status"]


def test_watching_ends_with_the_run(finished: Path) -> None:
    assert runner(finished, "status", "--watch").stdout.count("run small: done") == 1
    lines = runner(finished, "status", "--watch", "--json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["done"]


def test_watching_in_a_pipe_tells_only_what_has_changed(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "small")
    process = start_runner(tmp_path, write_manifest(tmp_path, {"first": {"wait": True}}))
    wait_until((run.stage("first").path / "waiting").exists)
    watching = start_runner(tmp_path, "status", "--watch")
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("run small: running")
    time.sleep(2.5)  # in which it looks again, and finds nothing new
    runner(tmp_path, "stop")
    process.communicate()
    told, errors = watching.communicate(timeout=20)
    assert (watching.returncode, errors) == (0, "")
    assert [line.split()[2] for line in told.splitlines() if line.startswith("run small")] == ["interrupted"]


def test_watching_on_a_terminal_redraws_in_place_and_gives_the_terminal_back(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "small")
    process = start_runner(tmp_path, write_manifest(tmp_path, {"first": {"wait": True}}))
    wait_until((run.stage("first").path / "waiting").exists)
    seen, code = watch_on_a_terminal(tmp_path, until=b"first: running", then=signal.SIGINT)
    runner(tmp_path, "stop")
    process.communicate()
    assert code == 130
    assert seen.startswith(ENTER_SCREEN + HOME)
    assert seen.endswith(LEAVE_SCREEN)
    assert "\x1b[36;1mrunning\x1b[0m" in seen
    assert "\x1b[2J" not in seen
    ended, code = watch_on_a_terminal(tmp_path, env={"NO_COLOR": "1"})
    assert code == 0
    assert "run small: interrupted" in ended.partition(LEAVE_SCREEN)[2]
    assert "\x1b[1m" not in ended


def watch_on_a_terminal(
    folder: Path, *, until: bytes = b"", then: int = 0, env: dict[str, str] | None = None
) -> tuple[str, int]:
    """What `status --watch` writes to a terminal, and its exit code; `then` is sent once `until` was seen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "status", "--watch"],
        cwd=folder,
        env={**environment(), "TERM": "xterm", **(env or {})},
        stdin=theirs,
        stdout=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen, is_sent = b"", not then
    with suppress(OSError):  # the other end was closed
        while part := os.read(ours, 4096):
            seen += part
            if until in seen and not is_sent:
                process.send_signal(then)
                is_sent = True
    os.close(ours)
    return seen.decode(), process.wait(20)


def test_logs_of_a_stage_and_of_a_rank(finished: Path) -> None:
    assert runner(finished, "logs", "--stage", "first").stdout == "train attempt 1 rank 0\n"
    assert runner(finished, "logs").stdout == "test_model attempt 1 rank 0\n"
    of_rank = ["logs", "--stage", "base", "--rank", "0"]
    assert runner(finished, *of_rank).stdout == "init_model attempt 1 rank 0\n"
    assert runner(finished, *of_rank, "--attempt", "1", "--grep", "no.such", "--tail", "3").stdout == ""
    everybody = runner(finished, "logs", "--stage", "first", "--all-ranks").stdout
    assert everybody == "[rank 0] train attempt 1 rank 0\n"
    missing = runner(finished, "logs", "--stage", "first", "--rank", "7")
    assert (missing.returncode, "has no log of rank 7" in missing.stderr) == (2, True)
    unknown = runner(finished, "logs", "--stage", "third")
    assert "no step 'third'; the steps are made, base, expand" in unknown.stderr


def test_the_report_of_a_run_is_one_file(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    told = runner(finished, "report", "small", "--output", page)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == f"{page}: 2 training stages, 0 faults survived\n"
    assert "<title>small: done</title>" in page.read_text()
    told = runner(finished, "report")
    assert told.stdout.startswith(f"{(finished / 'runs/small/report.html').resolve()}: ")
    refused = runner(finished, "report", "--output", tmp_path)
    assert (refused.returncode, "no file can be written there" in refused.stderr) == (2, True)


def test_all_runs_are_listed(finished: Path, tmp_path: Path) -> None:
    assert runner(finished, "list").stdout.splitlines()[1].startswith("small  done   test")
    document = json.loads(runner(finished, "list", "--json").stdout)
    assert (document["schema_version"], [run["run"] for run in document["runs"]]) == (1, ["small"])
    nothing = runner(tmp_path, "list")
    assert (nothing.returncode, nothing.stderr) == (
        2,
        "error: runs is no folder; name the one that holds your runs\n",
    )


def test_a_run_and_its_manifest_are_compared(finished: Path, tmp_path: Path) -> None:
    equal = runner(finished, "diff", "small", "small.toml", "--exit-code")
    assert (equal.returncode, equal.stdout.splitlines()[-1]) == (0, "nothing differs")
    changed = finished / "small.toml"
    other = tmp_path / "other.toml"
    other.write_text(changed.read_text().replace("seed = 1", "seed = 2"))
    told = runner(finished, "diff", "small", other)
    assert (told.returncode, "seed: 1 -> 2" in told.stdout) == (0, True)
    told = runner(finished, "diff", "small", other, "--json", "--exit-code")
    document = json.loads(told.stdout)
    assert (told.returncode, document["schema_version"], document["equal"]) == (1, 1, False)
    assert {"key": "seed", "a": 1, "b": 2} in document["manifest"]["result"]
    assert runner(finished, "diff", "small", "nowhere").returncode == 2


def test_following_ends_with_the_run_and_stop_waits_for_its_end(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "small")
    process = start_runner(tmp_path, write_manifest(tmp_path, {"first": {"wait": True}}))
    wait_until((run.stage("first").path / "waiting").exists)
    following = start_runner(tmp_path, "logs", "-f")
    stopped = runner(tmp_path, "stop")
    assert (stopped.returncode, stopped.stdout) == (
        0,
        f"{run.path}: stopped; go on with: runner resume {run.path}\n",
    )
    assert process.wait() == 75
    output, _ = following.communicate(timeout=20)
    assert output.startswith("train attempt 1 rank 0\n")
    process.communicate()
    assert runner(tmp_path, "stop").stdout == f"{run.path}: nothing runs\n"
