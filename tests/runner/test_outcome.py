from __future__ import annotations

from dataclasses import replace

import pytest

from runner.hang import Hang, Standing
from runner.outcome import Ended, Outcome, RankRecord, judge


def record(
    rank: int, code: int = 0, *, signal: int | None = None, at: int = 0, told: bool = False
) -> RankRecord:
    return {
        "rank": rank,
        "host": "host1",
        "pid": 100 + rank,
        "start_ticks": 1,
        "exit_code": 128 + signal if signal else code,
        "signal": signal,
        "t_ns": at,
        "told_to_stop": told,
        "max_rss_kb": 1,
    }


def ended(
    *records: RankRecord,
    started: int = 2,
    expected: int | None = 2,
    launcher: int = 0,
    result: dict[str, object] | None = None,
    stop: bool = False,
) -> Outcome:
    return judge(
        Ended(
            records=records,
            started=range(started),
            expected=expected,
            launcher_codes=[launcher],
            result=result,
            stop_asked=stop,
        )
    )


def test_done_needs_every_rank_and_the_result() -> None:
    well = ended(record(0), record(1), result={"step": 3})
    assert (well.state, well.exit_code, well.result) == ("done", 0, {"step": 3})
    assert ended(record(0), record(1)).state == "failed"
    assert ended(record(0), started=1, result={"step": 3}).state == "failed"
    assert ended(result={"step": 3}, started=0).state == "failed"


def test_a_launcher_that_stumbles_after_all_work_was_done_changes_nothing() -> None:
    assert ended(record(0), record(1), result={"step": 3}, launcher=1).state == "done"


def test_an_elastic_launch_may_have_any_number_of_ranks() -> None:
    assert ended(record(0), started=1, expected=None, result={"step": 3}).state == "done"


@pytest.mark.parametrize(
    ("records", "blamed", "reason"),
    [
        ((record(0, 1, at=2), record(1, 1, at=1)), 1, "rank 1 on host1 exited 1"),
        ((record(0, 1, at=1, told=True), record(1, 6, at=2)), 1, "rank 1 on host1 exited 6"),
        ((record(0, 0, at=1), record(1, signal=9, at=2)), 1, "rank 1 on host1 was killed by SIGKILL"),
        ((record(0, signal=15, at=1, told=True), record(1, signal=11, at=2)), 1, "was killed by SIGSEGV"),
    ],
)
def test_the_first_rank_that_failed_by_itself_is_to_blame(
    records: tuple[RankRecord, ...], blamed: int, reason: str
) -> None:
    found = ended(*records, launcher=1)
    assert (found.state, found.blamed_rank) == ("failed", blamed)
    assert found.reason is not None
    assert reason in found.reason


def test_a_rank_that_vanished_is_to_blame_before_those_that_were_told_to_stop() -> None:
    found = ended(record(0, signal=15, told=True), launcher=1)
    assert (found.blamed_rank, found.exit_code) == (1, 1)
    assert found.reason == "rank 1 was killed together with its watcher (out of memory, or by hand)"


@pytest.mark.parametrize(
    ("bad", "code", "retry"),
    [
        (record(0, 1), 1, True),
        (record(0, signal=9), 1, True),
        (record(0, 8), 8, True),
        (record(0, 2), 2, False),
        (record(0, 4), 4, False),
        (record(0, 6), 6, False),
        (record(0, 7), 7, False),
        (record(0, 9), 9, False),
        (record(0, 10), 10, False),
        (record(0, 3), 1, False),
    ],
)
def test_the_trainer_s_codes_are_the_runner_s_and_only_crashes_may_be_tried_again(
    bad: RankRecord, code: int, retry: bool
) -> None:
    found = ended(bad, record(1))
    assert (found.exit_code, found.may_retry) == (code, retry)


@pytest.mark.parametrize(
    "records",
    [
        (record(0, 75), record(1, 75)),
        (record(0, 75), record(1, signal=15, told=True)),
        (record(0, signal=15, told=True), record(1, 1, told=True)),
        (),
    ],
)
def test_what_ends_because_it_was_asked_to_is_interrupted(records: tuple[RankRecord, ...]) -> None:
    found = ended(*records, started=len(records), stop=True)
    assert (found.state, found.exit_code, found.reason) == ("interrupted", 75, "stopped on request")


def test_a_rank_that_fails_by_itself_while_stopping_is_a_failure() -> None:
    assert ended(record(0, 9), record(1, 75), stop=True).exit_code == 9


def test_ranks_killed_after_a_request_to_stop_are_no_failure() -> None:
    assert ended(started=2, stop=True).state == "interrupted"


def test_a_trainer_that_stops_by_itself_with_75_is_interrupted() -> None:
    assert ended(record(0, 75), record(1, 75)).state == "interrupted"


def test_a_launcher_that_starts_nothing_is_told_with_its_code() -> None:
    found = ended(started=0, launcher=213)
    assert found.reason == "only 0 of 2 ranks were started; the launcher ended with 213"
    assert found.may_retry


@pytest.mark.parametrize(
    ("bad", "kind", "retry"),
    [
        (record(0, 2), "config", False),
        (record(0, 4), "drift", False),
        (record(0, 6), "data", False),
        (record(0, 7), "numeric", False),
        (record(0, 9), "storage", False),
        (record(0, 10), "unsafe", False),
        (record(0, 3), "exit", False),
        ({**record(0, 1), "fault": "told"}, "told", False),
        ({**record(0, 1), "fault": "out_of_gpu_memory"}, "out_of_gpu_memory", False),
        ({**record(0, 1), "fault": "exception"}, "exception", True),
        (record(0, 1), "exception", True),
        ({**record(0, 1), "fault": "lost_worker"}, "lost_worker", True),
        ({**record(0, 1), "fault": "lost_worker", "oom_kills": 1}, "out_of_host_memory", True),
        ({**record(0, 1), "fault": "lost_peer"}, "lost_peer", True),
        (record(0, signal=9), "killed", True),
        ({**record(0, signal=9), "oom_kills": 1}, "out_of_host_memory", True),
        (record(0, signal=11), "crash", True),
        (record(0, signal=6), "crash", True),
        (record(0, signal=15), "killed", True),
        (record(0, 137), "killed", True),
    ],
)
def test_each_fault_is_of_a_kind(bad: RankRecord, kind: str, retry: bool) -> None:
    found = ended(bad, record(1))
    assert (found.kind, found.may_retry) == (kind, retry)


def test_a_rank_that_only_saw_another_one_go_is_not_to_blame_though_its_clock_says_so() -> None:
    saw: RankRecord = {**record(0, 1, at=1), "fault": "lost_peer", "exception": "RuntimeError: closed"}
    fell: RankRecord = {**record(1, 1, at=9), "fault": "exception", "exception": "ValueError: no"}
    found = ended(saw, fell)
    assert (found.blamed_rank, found.collateral) == (1, (0,))
    assert found.reason == "rank 1 on host1 exited 1: ValueError: no"
    vanished = ended(saw)
    assert vanished.reason == "rank 1 was killed together with its watcher (out of memory, or by hand)"


def test_a_launcher_that_was_killed_took_all_its_ranks_along() -> None:
    found = ended(launcher=-9)
    assert found.reason == "the launcher was killed by SIGKILL, and its ranks ended with it"
    assert (found.kind, found.blamed_rank, found.may_retry) == ("launcher", None, True)


def test_memory_that_ran_out_is_explained() -> None:
    starved: RankRecord = {**record(0, signal=9), "oom_kills": 1, "max_rss_kb": 12_300_000}
    assert ended(starved, record(1)).reason == (
        "rank 0 on host1 ran out of the host's memory, and the kernel killed it (peak 12.3 GB); "
        "give the job more memory, or lower num_workers or nproc_per_node"
    )


def test_a_step_that_ends_early_with_0_is_not_done() -> None:
    found = ended(record(0), record(1), result={"step": 3, "total_steps": 5})
    assert found.reason == "every rank ended with 0, but its last step was 3 of 5: it did not reach its end"
    assert (found.kind, found.may_retry) == ("unfinished", False)


def test_a_hang_is_told_with_the_rank_that_is_behind() -> None:
    hang = Hang(5, (Standing(0, "step", 7, 6.0), Standing(1, "data", 7, 6.0)))
    facts = {"records": [], "started": [0, 1], "expected": 2, "launcher_codes": [-9], "result": None}
    hung = Ended(**facts, stop_asked=False, hang=hang, hosts={1: "host2"})  # type: ignore[arg-type]
    found = judge(hung)
    assert (
        found.reason == "rank 1 on host2 hung waiting for the data of step 8: nothing new for 6 s (limit 5 s)"
    )
    assert (found.exit_code, found.kind, found.collateral, found.may_retry) == (8, "hang", (0,), True)
    assert judge(replace(hung, stop_asked=True)).state == "interrupted"


def test_where_all_were_told_to_stop_and_nobody_asked_the_launcher_is_to_blame() -> None:
    told = record(0, signal=15, at=1, told=True), record(1, signal=9, at=2, told=True)
    found = ended(*told, launcher=255)
    assert found.reason == ("no rank failed by itself; the launcher ended with 255, as when a host is lost")
    assert (found.kind, found.blamed_rank, found.may_retry) == ("launcher", None, True)
    assert ended(*told, launcher=255, stop=True).state == "interrupted"
