"""Send the probe to hosts over ssh, all at once and with a limit, and take what they answer.

Whatever goes wrong becomes part of a reply: nothing is raised. What answers mean is decided elsewhere.
"""

from __future__ import annotations

import json
import random
import secrets
import shlex
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.launch.ssh import over_ssh
from runner.preflight import probe
from runner.preflight.answers import NO_FOLDER, NO_PYTHON, Reply, parse_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.hosts import Host
    from runner.launch.values import Toolchain
    from runner.manifest.tables import Cluster

LIMIT_SECONDS = 20.0
AT_ONCE = 32
PORT_TRIES = 20


def ask_all(
    hosts: Sequence[Host], question: Mapping[str, Any], *, cluster: Cluster, tools: Toolchain
) -> dict[str, Reply]:
    """The reply of each host by its name."""
    remote = _line(cluster, tools)

    def ask(host: Host) -> Reply:
        return _ask(over_ssh(host.name, remote, cluster=cluster, reads_stdin=True), question)

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return dict(zip([host.name for host in hosts], pool.map(ask, hosts), strict=True))


def ask_this_host(question: Mapping[str, Any], *, cluster: Cluster, tools: Toolchain) -> Reply:
    """What this host replies when it is asked in the same way: what the others are compared with."""
    return _ask(("sh", "-c", _line(cluster, tools)), question)


@contextmanager
def token_in(folder: Path) -> Iterator[dict[str, str]]:
    """A file of a new name in a folder, as its path and text; an empty path where none can be written."""
    path = folder / f".runner-{secrets.token_hex(8)}.check"
    text = secrets.token_hex(16)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:  # told by whoever looks at the folder
        yield {"path": "", "text": ""}
        return
    try:
        yield {"path": str(path), "text": text}
    finally:
        with suppress(OSError):
            path.unlink()


@contextmanager
def listener_in(ports: range) -> Iterator[int | None]:
    """A port that others can connect to meanwhile, one of `ports`; None where no port can be opened."""
    for port in random.sample(ports, min(PORT_TRIES, len(ports))):
        try:
            server = socket.create_server(("", port), backlog=128)  # nobody accepts: the kernel connects
        except OSError:
            continue
        with server:
            yield int(server.getsockname()[1])
        return
    yield None


def _line(cluster: Cluster, tools: Toolchain) -> str:
    """The line of sh that starts the probe where and as the ranks are started."""
    folder, python = shlex.quote(tools.work_dir), shlex.quote(tools.python)
    env = {**tools.passed_on, **cluster.env, "PYTHONSAFEPATH": "1"}
    exports = shlex.join(["env", *(f"{name}={value}" for name, value in sorted(env.items()))])
    there = f"cd {folder} 2>/dev/null || exit {NO_FOLDER}; test -x {python} || exit {NO_PYTHON}"
    return f"{there}; exec {exports} {python} -"


def _ask(argv: tuple[str, ...], question: Mapping[str, Any]) -> Reply:
    mark = f"answer-{secrets.token_hex(8)}:"
    source = Path(probe.__file__).read_text(encoding="utf-8")
    program = f"{source}\n\nmain({json.dumps(question)!r}, {mark!r})\n"
    try:
        done = subprocess.run(
            argv, input=program.encode(), capture_output=True, timeout=LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Reply(None, code=None)
    except OSError as fault:
        return Reply(None, code=255, words=str(fault))
    words = done.stderr.decode(errors="replace").strip().splitlines()
    answer = parse_answer(done.stdout.decode(errors="replace"), mark=mark)
    return Reply(answer, done.returncode, words[-1] if words else "", received_at=time.time())
