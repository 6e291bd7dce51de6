"""Where benchmarks keep what they make, and the separate environment that peers are installed into.

Everything lies in ONEREC_BENCHMARKS_CACHE, by default `onerec/benchmarks` in the user's cache folder, and is
made once. Peers are never dependencies of the project; pip's own configuration decides where they come from.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import HERE, Void

PEERS = ("trl", "datasets", "accelerate", "torchdata", "peft", "scikit-learn")
"""In the versions that pip finds; torch and transformers are of the versions that the project runs with."""
TOLD = ("torch", "transformers", "tokenizers", "pyarrow", "numpy", "torchdata")
TIMEOUT_SECONDS = 1800
ROOT = HERE.parent.parent


def cache_folder() -> Path:
    """The folder of everything that benchmarks keep."""
    given = os.environ.get("ONEREC_BENCHMARKS_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onerec" / "benchmarks"


def requirements() -> list[str]:
    """What pip is asked for; torch by its base version, which a CPU build satisfies as well."""
    same = [f"{name}=={_base(importlib.metadata.version(name))}" for name in ("torch", "transformers")]
    return [*same, *PEERS]


def _base(version: str) -> str:
    return version.split("+", maxsplit=1)[0]


@dataclass(frozen=True)
class PeerEnvironment:
    """The virtual environment of the peers."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def versions_file(self) -> Path:
        """Written last: versions of the peers; there is an environment when it is there."""
        return self.folder / "peers.json"

    def versions(self) -> dict[str, str]:
        """Versions of what is installed; raises Void when nothing is."""
        if not self.versions_file.is_file():
            raise Void("peers are not installed; run: python -m tests.benchmarks --set-up")
        return dict(json.loads(self.versions_file.read_bytes()))

    def set_up(self) -> None:
        """Install the peers, once."""
        if self.versions_file.is_file():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
        subprocess.run([self.python, "-m", "pip", "install", "--quiet", *requirements()], check=True)
        names = ["torch", "transformers", *PEERS]
        code = (
            f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names}}}))"
        )
        told = subprocess.run([self.python, "-c", code], check=True, capture_output=True).stdout
        self.versions_file.write_bytes(told)


def peer_environment() -> PeerEnvironment:
    """The environment for these requirements and this Python."""
    text = json.dumps([requirements(), platform.python_version()])
    return PeerEnvironment(cache_folder() / f"peers-{hashlib.sha256(text.encode()).hexdigest()[:12]}")


def ours_versions() -> dict[str, str]:
    """Versions of what ours runs on."""
    return {name: importlib.metadata.version(name) for name in TOLD}


def machine() -> str:
    """The machine in words."""
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {python}"


def child_environment() -> dict[str, str]:
    """One thread per process, no network, and the peers' caches inside ours."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(cache_folder() / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def alone() -> Iterator[None]:
    """Hold the cache for this run; raises Void when another one has it, since both would time each other."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise Void(f"another run has {cache_folder()}; wait for its end") from fault
        yield


def run_script(python: Path | str, script: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a script with one JSON argument; the JSON of its last line. Raises Void when it fails."""
    done = subprocess.run(
        [python, script, json.dumps(arguments, default=str)],
        capture_output=True,
        text=True,
        check=False,
        env=child_environment(),
        timeout=TIMEOUT_SECONDS,
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        last_words = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Void(f"{script.name} ended with {done.returncode}: {''.join(last_words)[:200]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


@dataclass(frozen=True)
class Bench:
    """What a row measures with."""

    repeats: int | None = None
    """Overrides how often rows repeat, for a rough look."""
    tell: Callable[[str], None] = print

    def times(self, count: int) -> int:
        """How often a row repeats that wants to do so `count` times."""
        return self.repeats or count

    def ours(self, script: str, **arguments: Any) -> dict[str, Any]:
        """Run `ours/SCRIPT.py` in a fresh process of this environment."""
        self.tell(f"  ours: {script}")
        return run_script(sys.executable, HERE / "ours" / f"{script}.py", arguments)

    def peer(self, script: str, **arguments: Any) -> dict[str, Any]:
        """Run `peers/SCRIPT.py` in a fresh process of the peers' environment."""
        self.tell(f"  peer: {script}")
        return run_script(peer_environment().python, HERE / "peers" / f"{script}.py", arguments)

    def kept(self, name: str, make: Callable[[Path], object]) -> Path:
        """A folder of the cache that `make` fills, the first time."""
        folder = cache_folder() / name
        if not folder.is_dir():
            self.tell(f"making {name}")
            temporary = folder.with_name(f".{folder.name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            make(temporary)
            temporary.rename(folder)
        return folder
