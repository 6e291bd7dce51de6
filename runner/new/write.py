"""Put a new manifest on the disk: one that was written for a model and data, or one that is shipped.

The templates of rows are copied in the same way, for they are edited too.

A file that is there is never touched, and nothing is written that would not load.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from onerec.errors import ConfigError
from runner.manifest import ManifestError, load
from runner.manifest.faults import did_you_mean, listed, printable
from runner.new.look import look
from runner.new.text import manifest_text

SHIPPED = Path(__file__).parents[2] / "manifests"
"""The manifests of a checkout; an installed package has none."""
TEMPLATES = Path(__file__).parents[2] / "onerec" / "build" / "tasks" / "templates.toml"
"""What rows say, where a manifest names no templates of its own."""
_NONE_SHIPPED = "this installation has none: they are in the folder manifests of the project"


def write_new(
    model_dir: Path, source: str, *, name: str | None, output: Path | None, env: Mapping[str, str]
) -> Path:
    """Write a manifest for a model folder and data; returns its path. Raises ConfigError."""
    name = name or _name_of(model_dir)
    path = output or Path(f"{name}.toml")
    _refuse_existing(path)
    text = manifest_text(look(model_dir, source, env=env), name=name, path=path)
    _prove(text)
    _create(path, text.encode())
    return path


def copy_shipped(name: str, output: Path | None) -> Path:
    """Copy a shipped manifest; its first line, which names the schema, and its run's name stay."""
    known = _shipped()
    found = known.get(name.removesuffix(".toml"))
    if found is None:
        remedy = did_you_mean(name, known) or f"shipped are {listed(known)}"
        if not known.keys() - {TEMPLATES.stem}:
            remedy = _NONE_SHIPPED
        if Path(name).is_dir():
            remedy = f"give its data too: runner new {printable(name)} DATA"
        raise ConfigError(f"there is no manifest '{printable(name)}'; {remedy}")
    path = output or Path(found.name)
    _refuse_existing(path)
    _create(path, found.read_bytes())
    return path


def next_step(name: str, path: Path) -> str:
    """What to do with a file that was written or copied."""
    if name.removesuffix(".toml") == TEMPLATES.stem:
        return f'edit it, then in the build_data stage: templates = "{path}"'
    return f"look at it, then: runner check {path}"


def shipped_lines() -> Iterator[str]:
    """Everything that is shipped with its first comment, or why there is no manifest."""
    found = _shipped()
    if not found.keys() - {TEMPLATES.stem}:
        yield _NONE_SHIPPED
    for name, path in found.items():
        lines = path.read_text(encoding="utf-8").splitlines()
        about = next((line[2:] for line in lines if line.startswith("# ")), "")
        yield f"{name:<14} {about}"


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in (*sorted(SHIPPED.glob("*.toml")), TEMPLATES) if path.is_file()}


def _name_of(folder: Path) -> str:
    words = re.sub(r"[^a-z0-9._-]+", "-", folder.absolute().name.lower()).strip("-._")
    return words or "my-run"


def _prove(text: str) -> None:
    """Raise ConfigError for a text that would not load, such as one with a path that nothing can open."""
    with tempfile.TemporaryDirectory(prefix="runner-new-") as folder:
        path = Path(folder) / "new.toml"
        path.write_text(text, encoding="utf-8")
        try:
            load(path)
        except ManifestError as fault:
            told = "\n".join(f"{one.place}: {one.message}; {one.remedy}" for one in fault.faults)
            raise ConfigError(f"no manifest can be written:\n{told}") from fault


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise ConfigError(f"{path} is there already, and is not overwritten; choose another --output")


def _create(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        _refuse_existing(path)
