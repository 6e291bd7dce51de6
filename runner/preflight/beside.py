"""What a run uses besides its own work: packages of trackers, and the command that is told of its end.

Nothing is imported and nothing is started.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

from runner.manifest.tables import Manifest
from runner.preflight.findings import Finding, error, warning


def check_beside(manifest: Manifest) -> Iterator[Finding]:
    """Trackers that are not installed are errors; a command that cannot be started is a warning."""
    asked = {
        name: place
        for place, stage in manifest.stages.items()
        if stage.kind == "train"
        for name in stage.trackers
    }
    for name, place in asked.items():
        if not is_installed(name):
            yield error(
                f"stages.{place}.trackers",
                f"the Python package {name} is not installed",
                f'pip install "onerec-runner[{name}]", or take it out of trackers',
            )
    yield from _check_command(manifest)


def is_installed(package: str) -> bool:
    """Whether a package can be imported; a folder of its name, as wandb leaves them, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def _check_command(manifest: Manifest) -> Iterator[Finding]:
    command = manifest.notify.command
    if not command or shutil.which(command[0]) is not None:
        return
    if "/" not in command[0]:
        told, remedy = (
            f"{command[0]} is not on the PATH",
            "correct it, or write ./NAME for one beside the manifest",
        )
    elif Path(command[0]).exists():
        told, remedy = f"{command[0]} is not executable", f"chmod +x {command[0]}"
    else:
        told, remedy = (
            f"{command[0]} is not there",
            "correct the path; it is relative to the manifest's folder",
        )
    yield warning("notify.command", told, remedy)
