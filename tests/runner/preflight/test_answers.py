"""What a host's answer means for a run: a table of cases, each with the whole message."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from runner.preflight.answers import (
    Answer,
    Reply,
    Wanted,
    excuse,
    judge,
    of_interface,
    of_resources,
    parse_answer,
    twins,
)
from runner.preflight.findings import Finding, error, warning

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN = Answer(
    host="host1",
    boot_id="b1",
    python="3.11.7",
    versions={"torch": "2.13.0", "numpy": "2.1"},
    code={"runner": "r", "onerec": "o"},
    missing=[],
    programs={},
    shared=True,
    unwritable=None,
    gpus=0,
    interfaces={"lo": True, "eth0": True},
    way="eth0",
    unconnected=None,
    shm_free_bytes=8 << 30,
    clock=1000.0,
)
WANTED = Wanted(
    own=OWN,
    work_dir="/work",
    python="/venv/bin/python",
    places={"/data": "datasets.rows.sources", "/gone": "model.base_model_dir"},
    ranks=2,
    folder="/work/runs",
    listener="10.0.0.1:20001",
    reach="ssh -F /etc/cluster",
    limit_seconds=20.0,
)


def answer(**changes: Any) -> Answer:
    return OWN.model_copy(update={"host": "host2", "boot_id": "b2", **changes})


def told(reply: Reply, wanted: Wanted = WANTED) -> list[str]:
    return [str(finding) for finding in judge("host2", reply, wanted)]


def test_a_host_that_has_everything_gives_no_finding() -> None:
    assert told(Reply(answer(), received_at=1001.0)) == []


SAME = "install the same environment on every host, in the same place"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"python": "3.10.1"},
            f"error: cluster.hostfile: host2 has Python 3.10.1, this host 3.11.7; {SAME}",
        ),
        (
            {"versions": {"torch": "2.11.0", "numpy": "2.1"}},
            f"error: cluster.hostfile: host2 has torch 2.11.0, this host 2.13.0; {SAME}",
        ),
        (
            {"versions": {"torch": "2.13.0"}},
            f"error: cluster.hostfile: host2 has numpy none, this host 2.1; {SAME}",
        ),
        (
            {"code": {"runner": "r", "onerec": "x"}},
            "error: cluster.hostfile: host2 has other code of onerec; bring the same code to every host",
        ),
        (
            {"code": {"runner": None, "onerec": "o"}},
            "error: cluster.hostfile: host2 has no code of runner; bring the same code to every host",
        ),
        (
            {"missing": ["/data", "/elsewhere"]},
            "error: datasets.rows.sources: host2 does not see /data; keep it on a file system that every "
            "host sees, under the same path",
        ),
        (
            {"shared": False},
            "error: output_dir: host2 does not see what is written to /work/runs here; choose an output_dir "
            "on a file system that every host shares",
        ),
        (
            {"unwritable": "Permission denied\x1b[2J"},
            "error: output_dir: host2 cannot write to /work/runs: Permission denied\\x1b[2J; make it "
            "writable there, for the user that ssh logs in",
        ),
        (
            {"way": None},
            "error: cluster.network_interface: host2 finds no interface that leads to the other hosts; "
            "name it, or mend the routes and names there",
        ),
        (
            {"unconnected": "No route to host"},
            "error: cluster.hostfile: host2 cannot connect to 10.0.0.1:20001 here: No route to host; open "
            "the ports from 1024 on between the hosts, or set cluster.network_interface",
        ),
        (
            {"gpus": 1},
            "error: cluster.nproc_per_node: 1 GPUs of host2 for 2 processes; lower it, or leave the host out",
        ),
        (
            {"shm_free_bytes": 64 << 20},
            "warning: host2 has 67.1 MB free in /dev/shm for 2 processes; make it larger: with docker, "
            "--shm-size or --ipc=host",
        ),
        (
            {"clock": 990.5},
            "warning: the clock of host2 is 10 s behind this host's; start chrony or ntpd on every host: "
            "times in logs mislead",
        ),
        (
            {"clock": 1004.0},
            "warning: the clock of host2 is 4 s ahead of this host's; start chrony or ntpd on every host: "
            "times in logs mislead",
        ),
    ],
)
def test_what_a_host_lacks_is_told(changes: dict[str, Any], message: str) -> None:
    assert told(Reply(answer(**changes), received_at=1000.0)) == [message]


def test_all_that_is_the_matter_is_told_at_once() -> None:
    reply = Reply(answer(python="3.10.1", missing=["/data"], clock=1.0), received_at=1000.0)
    assert [line.partition(":")[0] for line in told(reply)] == ["error", "error", "warning"]


def test_what_this_host_does_not_see_either_is_not_the_other_s_fault() -> None:
    wanted = replace(WANTED, own=OWN.model_copy(update={"missing": ["/gone"]}))
    assert told(Reply(answer(missing=["/gone"]), received_at=1000.0), wanted) == []


def test_nothing_is_told_of_a_token_that_could_not_be_written() -> None:
    reply = Reply(answer(shared=False, unwritable="x"), received_at=1000.0)
    assert told(reply, replace(WANTED, folder="")) == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (
            Reply(None, code=255, words="ssh: connect to host host2 port 22: No route to host"),
            "host2 cannot be reached: ssh: connect to host host2 port 22: No route to host; start it, take "
            "it out of the hostfile, or mend what `ssh -F /etc/cluster host2 true` tells",
        ),
        (
            Reply(None, code=None),
            "host2 did not answer within 20 s; start it, or take it out of the hostfile",
        ),
        (
            Reply(None, code=91),
            "host2 has no folder /work, in which the runner is started here; start it in a folder that every "
            "host sees",
        ),
        (Reply(None, code=92), f"host2 has no /venv/bin/python; {SAME}"),
        (
            Reply(None, code=1, words="SyntaxError\x07"),
            f"host2 could not be examined: SyntaxError\\x07; {SAME}",
        ),
        (Reply(None, code=0), f"host2 could not be examined: exit code 0; {SAME}"),
    ],
)
def test_why_a_host_does_not_answer_is_told(reply: Reply, message: str) -> None:
    assert told(reply) == [f"error: cluster.hostfile: {message}"]


@pytest.mark.parametrize(
    ("interface", "messages"),
    [
        ("eth0", []),
        (
            "ib0",
            [
                "error: cluster.network_interface: a has no interface ib0 with an address; choose one that "
                "every host has (there: eth0, eth1), or remove the key"
            ],
        ),
        (
            "eth1",
            ["error: cluster.network_interface: the interface eth1 of a is down; ip link set eth1 up, there"],
        ),
    ],
)
def test_a_named_interface_is_there_and_up(interface: str, messages: list[str]) -> None:
    found = of_interface(
        "a",
        answer(interfaces={"lo": True, "eth0": True, "eth1": False}),
        replace(WANTED, interface=interface),
    )
    assert [str(finding) for finding in found] == messages


@pytest.mark.parametrize(
    ("gpus", "own", "ranks", "is_told"),
    [(8, 8, 8, False), (4, 8, 8, True), (0, 8, 8, True), (0, 0, 2, False), (1, 0, 2, True), (8, 0, 8, False)],
)
def test_a_process_needs_a_gpu_where_there_are_any(gpus: int, own: int, ranks: int, is_told: bool) -> None:
    wanted = replace(WANTED, own=OWN.model_copy(update={"gpus": own}), ranks=ranks)
    assert bool([*of_resources("a", answer(gpus=gpus), wanted)]) == is_told


def test_binding_needs_a_gpu_and_the_program_that_binds() -> None:
    wanted = replace(WANTED, binds=True)
    found = [str(one) for one in of_resources("a", answer(programs={"numactl": False}), wanted)]
    assert found == [
        "error: cluster.numa_binding: a has no GPU to bind a process to; remove the key",
        "error: cluster.numa_binding: a has no numactl, which torchrun binds with; install numactl on every "
        "host, or remove the key",
    ]
    assert [*of_resources("a", answer(gpus=2, programs={"numactl": True}), wanted)] == []


def test_two_names_of_one_host_are_noticed() -> None:
    found = twins({"a": answer(), "b": answer(host="other"), "c": answer(), "d": answer(boot_id="")})
    assert [str(one) for one in found] == [
        "warning: cluster.hostfile: a and c are the same host; list it once, with all its slots"
    ]


def test_an_answer_is_found_among_what_a_login_writes() -> None:
    line = f"mark:{answer().model_dump_json()}"
    assert parse_answer(f"Welcome!\n{line}\nbye\n", mark="mark:") == answer()


@pytest.mark.parametrize(
    "output",
    [
        "",
        "Welcome!",
        "mark:",
        "mark:{}",
        "mark:[1]",
        "mark:null",
        f"other:{OWN.model_dump_json()}",
        f"mark:{OWN.model_dump_json()}\nmark:{OWN.model_dump_json()}",
        "mark:" + OWN.model_dump_json()[:-5],
        "mark:" + json.dumps({**OWN.model_dump(), "gpus": "8"}),
        "mark:" + json.dumps({**OWN.model_dump(), "more": 1}),
        "mark:" + "[" * 100_000,
    ],
)
def test_anything_else_is_no_answer(output: str) -> None:
    assert parse_answer(output, mark="mark:") is None


ILL, UNEASY = error("p", "it is ill", "heal it"), warning("p", "it is uneasy", "calm it")
NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("findings", "fewest", "left_out"),
    [
        ({"a": [], "b": [ILL]}, 3, set()),
        ({"a": [], "b": [ILL]}, 2, {"b"}),
        ({"a": [ILL], "b": [ILL, UNEASY]}, 1, {"a", "b"}),
        ({"a": [ILL], "b": [ILL]}, 2, set()),
        ({"b": [UNEASY]}, 1, set()),
        ({"": [ILL]}, 1, set()),
    ],
)
def test_an_elastic_run_starts_without_hosts_that_are_not_well(
    findings: dict[str, Sequence[Finding]], fewest: int, left_out: set[str]
) -> None:
    kept, found = excuse(findings, names=NAMES, fewest=fewest)
    assert found == left_out
    without = {
        name: tuple(
            warning("p", f"it is ill: starting without {name}", "heal it") if one == ILL else one
            for one in told
        )
        for name, told in findings.items()
        if name in left_out
    }
    assert kept == {**{name: tuple(told) for name, told in findings.items()}, **without}
