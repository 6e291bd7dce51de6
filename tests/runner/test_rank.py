"""The rank shim around real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.process import start_ticks
from runner.rank import read_rank
from runner.rundir import RunDir
from runner.stop import ask_to_stop
from tests.runner.programme import environment, wait_until

SLURM = {
    "SLURM_STEP_ID": "0",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_TASKS_PER_NODE": "2(x2)",
}


def shim(log_dir: Path, code: str, *, stdin: int | None = None, **env: str) -> subprocess.Popen[str]:
    """`python -c CODE` as one rank."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner.rank", "--log-dir", str(log_dir), "--", "-c", code],
        env={**environment(), **env},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def record(log_dir: Path, rank: int = 0) -> dict[str, Any]:
    return json.loads((log_dir / f"rank-{rank:05d}.json").read_text())


@pytest.mark.parametrize(
    ("env", "rank"),
    [
        ({}, 0),
        ({"RANK": "3"}, 3),
        ({"OMPI_COMM_WORLD_RANK": "2"}, 2),
        ({"RANK": "3", "OMPI_COMM_WORLD_RANK": "0"}, 3),
        (SLURM, 2),
        ({**SLURM, "OMPI_COMM_WORLD_RANK": "1"}, 1),
        ({**SLURM, "SLURM_STEP_ID": str(0xFFFFFFFB)}, 0),
    ],
)
def test_the_rank_is_the_innermost_launchers(env: dict[str, str], rank: int) -> None:
    assert read_rank(env) == rank


@pytest.mark.parametrize(
    ("code", "exit_code", "number"),
    [
        ("pass", 0, None),
        ("raise SystemExit(75)", 75, None),
        ("raise RuntimeError", 1, None),
        ("import os; os.kill(os.getpid(), 9)", 137, 9),
    ],
)
def test_how_the_trainer_ended_is_recorded_and_passed_on(
    tmp_path: Path, code: str, exit_code: int, number: int | None
) -> None:
    process = shim(tmp_path, code, RANK="4")
    process.communicate()
    assert process.returncode == exit_code
    found = record(tmp_path, 4)
    assert {key: found[key] for key in ("rank", "host", "exit_code", "signal", "told_to_stop")} == {
        "rank": 4,
        "host": os.uname().nodename,
        "exit_code": exit_code,
        "signal": number,
        "told_to_stop": False,
    }
    assert found["max_rss_kb"] > 1000
    assert found["t_ns"] > 1_700_000_000_000_000_000


def test_rank_0_is_shown_and_the_others_only_kept(tmp_path: Path) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    assert shim(tmp_path, code, RANK="0").communicate() == ("out\n", "err\n")
    assert shim(tmp_path, code, RANK="1").communicate() == ("", "")
    for rank in (0, 1):
        assert (tmp_path / f"rank-0000{rank}.stdout").read_text() == "out\n"
        assert (tmp_path / f"rank-0000{rank}.stderr").read_text() == "err\n"


def test_a_reader_that_went_away_does_not_stop_the_trainer(tmp_path: Path) -> None:
    process = shim(tmp_path, "import time\nfor n in range(5):\n print(n, flush=True); time.sleep(0.1)")
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stderr.close()
    assert process.wait() == 0
    assert (tmp_path / "rank-00000.stdout").read_text() == "0\n1\n2\n3\n4\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_signals_are_passed_on_and_the_rank_counts_as_told_to_stop(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = (
        "import signal, sys\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(5))\n"
        "print('ready', flush=True)\nwhile True: signal.pause()"
    )
    process = shim(tmp_path, code)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.communicate()
    assert (process.returncode, record(tmp_path)["told_to_stop"]) == (5, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_what_slurm_sends_to_all_tasks_asks_the_run_to_stop_and_ends_no_trainer(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = (
        "import os, signal\n"
        f"assert signal.getsignal({int(number)}) == signal.SIG_IGN\n"
        "print(os.getpid(), flush=True); input(); print('saved')"
    )
    run = RunDir(tmp_path / "run")
    run.stop_file.parent.mkdir(parents=True)
    env = {**SLURM, "SLURM_PROCID": "0", "RUNNER_RUN": str(run.path)}
    process = shim(tmp_path, code, stdin=subprocess.PIPE, **env)
    assert process.stdout
    trainer = int(process.stdout.readline())
    process.send_signal(number)
    os.kill(trainer, number)
    wait_until(run.stop_file.exists)
    assert json.loads(run.stop_file.read_text())["by"] == "signal"
    assert process.communicate("\n")[0] == "saved\n"
    assert (process.returncode, record(tmp_path)["told_to_stop"]) == (0, False)


def test_slurm_does_not_take_the_word_from_a_person_who_asked_to_stop(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    ask_to_stop(run.stop_file, by="runner stop")
    env = {**SLURM, "SLURM_PROCID": "0", "RUNNER_RUN": str(run.path)}
    process = shim(tmp_path, "print('ready', flush=True); input()", stdin=subprocess.PIPE, **env)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate("\n")
    assert json.loads(run.stop_file.read_text())["by"] == "runner stop"


def test_the_trainer_dies_with_its_shim_and_both_are_on_record(tmp_path: Path) -> None:
    process = shim(tmp_path, "import time; print('ready', flush=True); time.sleep(100)")
    assert process.stdout
    process.stdout.readline()
    path = tmp_path / "rank-00000.pid.json"
    wait_until(path.exists)
    started = json.loads(path.read_text())
    trainer = started["trainer"]["pid"]
    assert started["shim"]["pid"] == process.pid
    assert start_ticks(trainer) == started["trainer"]["start_ticks"]
    process.kill()
    wait_until(lambda: start_ticks(trainer) is None, seconds=3)
    process.communicate()
    assert not (tmp_path / "rank-00000.json").exists()


def test_the_shim_needs_only_the_standard_library(tmp_path: Path) -> None:
    code = (
        "import sys, runner.rank\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    told = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "['__main__', 'onerec', 'runner']"
