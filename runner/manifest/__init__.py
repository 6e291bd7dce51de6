"""Read a manifest: TOML text to frozen tables, or every fault of it at once.

Files that a manifest names are not looked at here; `runner.preflight` does that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from runner.manifest.faults import Code, Fault, ManifestError, Source, printable
from runner.manifest.overrides import apply_overrides
from runner.manifest.positions import locate_keys
from runner.manifest.resolve import with_absolute_inputs
from runner.manifest.syntax import explain
from runner.manifest.tables import (
    BuildDataStage,
    Cluster,
    EvaluateStage,
    ExpandVocabStage,
    InitModelStage,
    Manifest,
    Model,
    Stage,
    TestModelStage,
    TrainStage,
)
from runner.manifest.validate import Document, understand
from runner.redact import masked, redacted

__all__ = [
    "BuildDataStage",
    "Cluster",
    "EvaluateStage",
    "ExpandVocabStage",
    "Fault",
    "InitModelStage",
    "LoadedManifest",
    "Manifest",
    "ManifestError",
    "Model",
    "Stage",
    "TestModelStage",
    "TrainStage",
    "dump",
    "load",
    "restore",
]


@dataclass(frozen=True)
class LoadedManifest:
    """A manifest, and how it came to be: its text as given, where it lies, what was laid over it."""

    manifest: Manifest
    """As understood: defaults filled, overrides applied, input paths absolute."""
    text: bytes
    path: Path
    overrides: tuple[str, ...]
    source: Source
    """Where each key was written, for messages of later checks."""

    @property
    def resolved(self) -> dict[str, Any]:
        """The manifest as JSON with sorted keys; `stage_order` keeps what sorting loses."""
        document: dict[str, Any] = json.loads(dump(self.manifest))
        return document


def load(path: Path | str, overrides: Sequence[str] = ()) -> LoadedManifest:
    """Read the manifest at `path`, each `--set` of `overrides` laid over it.

    Raises ManifestError with every fault at once: of the file, of its TOML, of its keys and values, and of
    how its tables fit together.
    """
    path = Path(path)
    data = _read(path)
    text = _decode(path, data)
    written = _parse(path, text)
    document, applied, problems = apply_overrides(written, overrides)
    source = Source(printable(str(path)), text.split("\n"), locate_keys(text, written), applied)
    manifest, found = understand(document)
    problems += found
    if problems or manifest is None:
        raise ManifestError(source.faults_of(problems))
    manifest = with_absolute_inputs(manifest, path.absolute().parent)
    return LoadedManifest(manifest, data, path, tuple(overrides), source)


def dump(manifest: Manifest) -> str:
    """The text of manifest.resolved.json: sorted keys, and the stages in order as `stage_order`."""
    document = {**manifest.model_dump(mode="json"), "stage_order": list(manifest.stages)}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def restore(text: str | bytes) -> Manifest:
    """The manifest that `dump` wrote; raises ValueError when the text is not one."""
    document = json.loads(text)
    order = document.pop("stage_order")
    document["stages"] = {name: document["stages"][name] for name in order}
    return Manifest.model_validate_json(json.dumps(_without_nulls(document)))


def _without_nulls(value: Any) -> Any:
    """What was not given stays not given, for a key that is missing may mean more than one that is null."""
    if isinstance(value, dict):
        return {key: _without_nulls(below) for key, below in value.items() if below is not None}
    return [_without_nulls(below) for below in value] if isinstance(value, list) else value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        remedy = "give the path of a manifest, such as manifests/movielens.toml"
        what = f"cannot be read: {fault.strerror}"
        raise ManifestError([_fault(path, what, remedy, code="unreadable")]) from fault


def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = "the file is UTF-16, as some editors write it"
        raise ManifestError([_fault(path, message, "save it as UTF-8", code="encoding")])
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")  # as tomli does
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        column = fault.start - (data.rfind(b"\n", 0, fault.start) + 1) + 1
        message = f"byte 0x{data[fault.start]:02x} is not UTF-8"
        place = _fault(path, message, "save the file as UTF-8", line, column, code="encoding")
        raise ManifestError([place]) from fault


def _parse(path: Path, text: str) -> Document:
    try:
        document = tomli.loads(text)
    except (ValueError, RecursionError) as fault:
        raise ManifestError([_syntax_fault(path, text, str(fault))]) from fault
    if not document:
        remedy = "copy one of manifests/, or have one written: runner new MODEL_DIR DATA"
        raise ManifestError([_fault(path, "holds no key", remedy, code="missing-key")])
    return document


def _syntax_fault(path: Path, text: str, found: str) -> Fault:
    syntax = explain(text, found)
    source = "" if syntax.line is None else masked(text.split("\n")[syntax.line - 1])
    told = redacted(syntax.message), redacted(syntax.remedy)
    return _fault(path, *told, syntax.line, syntax.column, source, code="syntax")


def _fault(
    path: Path,
    message: str,
    remedy: str,
    line: int | None = None,
    column: int | None = None,
    text: str = "",
    *,
    code: Code,
) -> Fault:
    return Fault(printable(str(path)), line, column, "", message, remedy, text, code)
