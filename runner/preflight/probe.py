"""What a host can tell about itself for preflight: a question, a mapping, to an answer, a mapping.

Sent as a program over ssh (`python -`), so it is of the standard library alone but for onerec.network, which
it looks for on the host it is on. It changes nothing but for one file of its own, which it removes again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 5.0


def main(question: str, mark: str) -> None:
    """Write one line that begins with the mark and holds the answer; logins may write lines of their own."""
    os.write(1, f"\n{mark}{json.dumps(answer(json.loads(question)))}\n".encode())


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """All that is asked; what cannot be found out is missing or said to be so, nothing is raised."""
    return {
        "host": os.uname().nodename,
        "boot_id": _text("/proc/sys/kernel/random/boot_id"),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in question["packages"]},
        "code": {name: _digest(name) for name in question["code"]},
        "programs": {name: shutil.which(name) is not None for name in question["programs"]},
        "missing": [path for path in question["paths"] if not _is_there(path)],
        "shared": _text(question["token"]["path"]) == question["token"]["text"],
        "unwritable": _unwritable(question["token"]["path"]),
        "gpus": _count_gpus(),
        "interfaces": _interfaces(),
        "way": _way(question["peers"]),
        "unconnected": _unconnected(question["listener"]),
        "shm_free_bytes": _free_bytes("/dev/shm"),  # noqa: S108 - looked at, not written to
        "clock": time.time(),
    }


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, ValueError):
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digest(package: str) -> str | None:
    """Digest of the source of a package, names and all; None where there is none."""
    found = importlib.util.find_spec(package)
    folders = (found.submodule_search_locations if found else None) or []
    digest = hashlib.sha256()
    for folder in map(Path, folders):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest() if folders else None


def _unwritable(path: str) -> str | None:
    """Why no file can be made beside the token; None where one can."""
    if not path:
        return None
    own = Path(f"{path}.{os.uname().nodename}.{os.getpid()}")
    try:
        own.write_text("", encoding="utf-8")
        own.unlink()
    except OSError as fault:
        return fault.strerror or str(fault)
    return None


def _count_gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _interfaces() -> dict[str, bool]:
    """Every interface with an address, and whether it is up; empty where the code is not there."""
    with suppress(ImportError, OSError):
        from onerec.network import interfaces  # noqa: PLC0415 - what is asked is also whether it is there

        return {found.name: found.is_up for found in interfaces()}
    return {}


def _way(peers: list[str]) -> str | None:
    """The interface that leads to the other hosts."""
    with suppress(ImportError, OSError):
        from onerec.network import interface_towards  # noqa: PLC0415

        found = interface_towards(peers)
        return found.name if found else None
    return None


def _unconnected(listener: list[Any] | None) -> str | None:
    """Why the host that asks cannot be connected to; None where it can, or nobody listens."""
    if listener is None:
        return None
    try:
        socket.create_connection((listener[0], listener[1]), timeout=CONNECT_SECONDS).close()
    except OSError as fault:
        return fault.strerror or str(fault)
    return None


def _free_bytes(path: str) -> int | None:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
