"""Hosts are asked over ssh, here a program that runs the line on this host; nothing is raised."""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from runner.hosts import Host
from runner.manifest.tables import Cluster
from runner.preflight import ask, probe
from runner.preflight.ask import ask_all, listener_in, token_in
from runner.toolchain import find_toolchain

if TYPE_CHECKING:
    from pathlib import Path

RUN_HERE = 'shift $(($# - 1))\nexec sh -c "$1"\n'
HOSTS = (Host("a"), Host("b"))


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write what `ssh` does."""

    def write(script: str) -> None:
        path = tmp_path / "bin" / "ssh"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")

    return write


def question(**changes: Any) -> dict[str, Any]:
    return {
        "packages": ["numpy", "no-such-package"],
        "code": ["runner", "onerec"],
        "paths": [sys.executable, "/no/such/path"],
        "programs": ["sh", "no-such-program"],
        "token": {"path": "", "text": ""},
        "peers": [],
        "listener": None,
        **changes,
    }


def asked(**changes: Any) -> dict[str, Any]:
    cluster = Cluster(launcher="torchrun")
    tools = find_toolchain(cluster, hosts=(), env={})
    return ask_all(HOSTS, question(**changes), cluster=cluster, tools=tools)


def test_every_host_answers_what_the_probe_finds(ssh: Any) -> None:
    ssh(f"echo Welcome to $4\necho motd >&2\n{RUN_HERE}")
    replies = asked()
    assert list(replies) == ["a", "b"]
    here = probe.answer(question())
    for reply in replies.values():
        found = reply.answer.model_dump()
        assert {**found, "clock": 0, "shm_free_bytes": 0} == {**here, "clock": 0, "shm_free_bytes": 0}
        assert abs(found["clock"] - reply.received_at) < 2
    assert here["missing"] == ["/no/such/path"]
    assert here["programs"] == {"sh": True, "no-such-program": False}
    assert here["versions"]["no-such-package"] is None
    assert len(here["code"]["onerec"]) == 64


def test_a_token_shows_a_shared_folder_and_is_removed(ssh: Any, tmp_path: Path) -> None:
    ssh(RUN_HERE)
    folder = tmp_path / "runs"
    folder.mkdir()
    with token_in(folder) as token:
        replies = asked(token=token)
        assert {(reply.answer.shared, reply.answer.unwritable) for reply in replies.values()} == {
            (True, None)
        }
        elsewhere = asked(token={**token, "text": "another"})
        assert {reply.answer.shared for reply in elsewhere.values()} == {False}
    assert list(folder.iterdir()) == []
    with token_in(tmp_path / "nowhere") as token:
        assert token == {"path": "", "text": ""}


def test_a_port_that_is_open_can_be_connected_to_and_a_closed_one_cannot(ssh: Any) -> None:
    ssh(RUN_HERE)
    with listener_in(range(1)) as port:
        found = asked(listener=["127.0.0.1", port])
    assert {reply.answer.unconnected for reply in found.values()} == {None}
    closed = asked(listener=["127.0.0.1", port])
    assert {reply.answer.unconnected for reply in closed.values()} == {"Connection refused"}


def test_no_port_is_told_where_none_can_be_opened() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with listener_in(range(port, port + 1)) as found:
            assert found is None


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("echo 'Could not resolve' >&2; exit 255", 255, "Could not resolve"),
        ("exit 91", 91, ""),
        ("echo answer:{}", 0, ""),
        ("head -c 100000 /dev/urandom", 0, ""),
    ],
)
def test_whatever_goes_wrong_becomes_a_reply(ssh: Any, script: str, code: int, words: str) -> None:
    ssh(script)
    for reply in asked().values():
        assert (reply.answer, reply.code, reply.words) == (None, code, words)


def test_hosts_that_do_not_answer_are_waited_for_together_and_not_for_ever(
    ssh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh("exec sleep 60")
    monkeypatch.setattr(ask, "LIMIT_SECONDS", 0.5)
    began = time.monotonic()
    assert {reply.code for reply in asked().values()} == {None}
    assert time.monotonic() - began < 10


def test_a_host_without_ssh_gets_a_reply_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {reply.code for reply in asked().values()} == {255}


@pytest.mark.parametrize(("key", "code"), [("work_dir", 91), ("python", 92)])
def test_where_there_is_nothing_to_start_it_is_told_which_and_no_path_is_obeyed(
    ssh: Any, tmp_path: Path, key: str, code: int
) -> None:
    ssh(RUN_HERE)
    ran = tmp_path / "ran"
    cluster = Cluster(launcher="torchrun")
    tools = replace(find_toolchain(cluster, hosts=(), env={}), **{key: f"/no/such/$(touch {ran})"})
    replies = ask_all(HOSTS, question(), cluster=cluster, tools=tools)
    assert {reply.code for reply in replies.values()} == {code}
    assert not ran.exists()
