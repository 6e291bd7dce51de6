"""The small programme's plan as a value, for tests of pure functions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner.hosts import Host
from runner.launch.values import Attempt, Toolchain
from runner.manifest import load
from runner.plan import plan
from runner.rundir import RunDir
from tests.runner.programme import write_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.steps import Plan

RUN = RunDir(Path("/runs/small"))
HERE = Toolchain(
    python="/venv/bin/python",
    torchrun=("/venv/bin/torchrun",),
    host="host1",
    work_dir="/work",
    cores=16,
    gpus=8,
)
TWO_HOSTS = replace(
    HERE,
    mpirun="/usr/bin/mpirun",
    mpirun_major=4,
    hosts=(Host("host1", 8), Host("host2", 8)),
    addresses={"host1": "10.0.0.1", "host2": "10.0.0.2"},
    network="10.0.0.0/24",
    torchrun_flags=frozenset({"--numa-binding"}),
)
ATTEMPT = Attempt(number=1, nonce="unique", port=29400)


def small_plan(
    folder: Path, *overrides: str, run: RunDir = RUN, identities: Mapping[str, str] | None = None
) -> Plan:
    """Plan of the small programme with overrides laid over it."""
    manifest = load(write_manifest(folder), overrides).manifest
    return plan(manifest, run=run, identities=identities or {})


def changed(before: Plan, after: Plan) -> Sequence[str]:
    """Names of the steps whose fingerprints differ."""
    pairs = zip(before.steps, after.steps, strict=True)
    return [old.name for old, new in pairs if old.fingerprint != new.fingerprint]
