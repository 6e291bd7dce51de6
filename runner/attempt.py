"""One attempt at a step: its orders written, its launchers run to their end, and what came of it judged.

What follows an attempt is decided elsewhere.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.progress import write_json_atomically
from runner.hang import Limits
from runner.launch import launch
from runner.launch.ranks import world_size
from runner.launch.values import Attempt
from runner.lease import hold_lease
from runner.observe import read_document
from runner.outcome import Ended, Outcome, RankRecord, judge
from runner.outputs import measure
from runner.printable import printable
from runner.records import write_orders
from runner.rundir import StepDir
from runner.supervise import kill_leftovers, run_to_end
from runner.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.journal import Journal
    from runner.manifest.tables import Cluster
    from runner.request import Request
    from runner.rundir import RunDir
    from runner.steps import Step
    from runner.stop import StopRequests

FIRST_PORT, PORTS = 20000, 10000
"""Rendezvous ports lie below those that the kernel hands out by itself."""
FAR_END_SECONDS = 15.0
"""How long the ranks of other hosts have to notice that their attempt is over."""
TAIL_LINES = 20
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Work:
    """What every attempt of one runner has in common."""

    request: Request
    journal: Journal
    stop: StopRequests

    def attempt(
        self, step: Step, *, number: int, on_progress: Callable[[Mapping[str, object]], None]
    ) -> Outcome:
        """Make one attempt and write down how it ended."""
        home, run = StepDir(Path(step.folder)), self.request.plan.run
        chosen = Attempt(number=number, nonce=_nonce(run, step, number), port=_choose_port())
        began = time.monotonic()
        with hold_lease(run.lease, nonce=chosen.nonce) as lease:
            watch = Watch(
                run,
                home,
                attempt=number,
                nonce=chosen.nonce,
                progress=StepDir(Path(step.output_dir)).progress,
                lease=lease,
                limits=limits_of(self.request.cluster),
                is_training=step.kind == "train",
                on_progress=on_progress,
            )
            codes = self._run(step, home, chosen, watch)
        kill_leftovers(home.logs(number))
        _await_far_ends(home, number)
        ended = self._ended(step, home, number=number, codes=codes, watch=watch)
        outcome = judge(ended)
        failure = _write_failure(step, home, outcome, number=number) if outcome.state == "failed" else None
        self.journal.append(
            "step_ended",
            step=step.name,
            state=outcome.state,
            exit_code=outcome.exit_code,
            reason=outcome.reason,
            seconds=time.monotonic() - began,
            result={
                key: value for key, value in outcome.result.items() if not isinstance(value, (dict, list))
            },
            **({"failure": failure} if failure else {}),
            **({"outputs": measure(step)} if outcome.state == "done" else {}),
        )
        return outcome

    def _run(self, step: Step, home: StepDir, attempt: Attempt, watch: Watch) -> tuple[int, ...]:
        """Write the orders, tell the journal, start the launchers and wait for them; their exit codes."""
        request, run = self.request, self.request.plan.run
        commands = launch(step, run=run.path, cluster=request.cluster, tools=request.tools, attempt=attempt)
        write_orders(step, home, commands, tools=request.tools, number=attempt.number, run=run)
        self.journal.append(
            "step_started",
            step=step.name,
            attempt=attempt.number,
            fingerprint=step.fingerprint,
            ingredients=step.ingredients,
            argv=[command.argv for command in commands],
        )
        return run_to_end(
            commands,
            home=home,
            env=request.env,
            stop=self.stop,
            grace_seconds=request.cluster.stop_grace_seconds if step.kind == "train" else 0.0,
            watch=watch,
        )

    def _ended(
        self, step: Step, home: StepDir, *, number: int, codes: tuple[int, ...], watch: Watch
    ) -> Ended:
        logs, request = home.logs(number), self.request
        result = read_document(StepDir(Path(step.output_dir)).result)
        return Ended(
            records=[_record(path) for path in sorted(logs.glob("rank-?????.json"))],
            started=sorted(hosts_of(home, number)),
            expected=world_size(step, cluster=request.cluster, tools=request.tools),
            launcher_codes=codes,
            result=result if result.get("attempt") == number else None,
            stop_asked=bool(self.stop.level),
            missing=tuple(output for output in step.outputs if not Path(output).exists()),
            hang=watch.hang,
            stacks=watch.stacks,
            hosts=hosts_of(home, number),
        )


def limits_of(cluster: Cluster) -> Limits:
    """How long the ranks of a step may show nothing new."""
    return Limits(cluster.setup_timeout_seconds, cluster.step_timeout_seconds, cluster.save_timeout_seconds)


def hosts_of(home: StepDir, number: int) -> dict[int, str]:
    """Host of each rank of an attempt whose shim started."""
    found = {int(path.name[5:10]): read_document(path) for path in home.process_records(number)}
    return {rank: str(_shim(record).get("host")) for rank, record in found.items()}


def log_of(home: StepDir, outcome: Outcome, *, attempt: int) -> Path:
    """Where the failing rank complained; the launcher's own log when no rank is to blame."""
    if outcome.blamed_rank is None:
        return home.stderr
    return home.rank_log(attempt, outcome.blamed_rank, "stderr")


def tail_of(log: Path, *, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log, control characters escaped."""
    if not log.exists():
        return []
    with log.open(encoding="utf-8", errors="replace") as file:
        return [printable(line.rstrip("\n")) for line in deque(file, maxlen=lines)]


def _write_failure(step: Step, home: StepDir, outcome: Outcome, *, number: int) -> dict[str, object]:
    """Write failure.json of an attempt; returns the part of it that the journal keeps."""
    log = log_of(home, outcome, attempt=number)
    hosts = hosts_of(home, number)
    blamed = outcome.blamed
    kept: dict[str, object] = {
        "kind": outcome.kind,
        "rank": outcome.blamed_rank,
        "host": hosts.get(outcome.blamed_rank) if outcome.blamed_rank is not None else None,
        "exception": outcome.words,
        "log": os.path.relpath(log, home.path),
        "collateral": list(outcome.collateral),
    }
    document = {
        **kept,
        "step": step.name,
        "attempt": number,
        "exit_code": outcome.exit_code,
        "reason": outcome.reason,
        "pid": blamed["pid"] if blamed else None,
        "signal": blamed["signal"] if blamed else None,
        "max_rss_kb": blamed["max_rss_kb"] if blamed else None,
        "last_lines": tail_of(log),
        "time": time.time(),
    }
    with suppress(OSError):  # a full disk may be what failed; the journal tells that
        write_json_atomically(home.failure(number), document)
    return kept


def _await_far_ends(home: StepDir, number: int) -> None:
    """Wait until the ranks of other hosts have seen that the attempt is over, for they write here too."""
    here, logs = os.uname().nodename, home.logs(number)
    far = [rank for rank, host in hosts_of(home, number).items() if host != here]
    deadline = time.monotonic() + FAR_END_SECONDS
    while time.monotonic() < deadline:
        if all((logs / f"rank-{rank:05d}.json").exists() for rank in far):
            return
        time.sleep(POLL_SECONDS)


def _shim(record: Mapping[str, object]) -> Mapping[str, object]:
    shim = record.get("shim")
    return shim if isinstance(shim, dict) else {}


def _record(path: Path) -> RankRecord:
    return read_document(path)  # type: ignore[return-value]


def _nonce(run: RunDir, step: Step, number: int) -> str:
    """A name that no other attempt has: two jobs that share one would be merged."""
    return f"{run.name}-{step.stage}-{number}-{os.urandom(4).hex()}"


def _choose_port() -> int:
    """A port for the rendezvous of several hosts; it is opened on the first of them, not here."""
    return FIRST_PORT + int.from_bytes(os.urandom(4), "big") % PORTS
