from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PROGRAM = """
import os, sys, time
from onerec.data.loading.workers import begin_worker, worker_context

def work(ready):
    begin_worker()
    ready.put(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    context = worker_context("onerec.data.loading.workers")
    ready = context.Queue()
    workers = [context.Process(target=work, args=(ready,), daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    print(*[ready.get(timeout=30) for _ in workers], flush=True)
    time.sleep(60)
"""


@pytest.fixture
def program(tmp_path):
    """A running program with two workers: its process, and the process ids of the workers."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process, [int(word) for word in process.stdout.readline().split()]
        finally:
            process.kill()


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2]
    except FileNotFoundError:
        return False
    return not state.startswith("Z")


def test_workers_die_with_the_program_that_was_killed(program):
    process, workers = program
    assert [running(pid) for pid in workers] == [True, True]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [running(pid) for pid in workers] == [False, False]


def test_workers_and_their_server_outlive_the_signals_of_a_clean_stop(program):
    process, workers = program
    server = int(Path(f"/proc/{workers[0]}/stat").read_text().rpartition(") ")[2].split()[1])
    assert server != process.pid
    for pid in [server, *workers]:
        status = Path(f"/proc/{pid}/status").read_text()
        ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
            assert ignored >> (number - 1) & 1
