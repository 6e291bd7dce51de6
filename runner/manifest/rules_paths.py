"""The rules of paths as they are written: what no step could open, wherever it runs.

Pure; whether a path leads to something is looked at by `runner.preflight`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from onerec.config import Dataset
from runner.manifest.faults import Problem, shown
from runner.manifest.positions import KeyPath
from runner.manifest.sources import source_parts, url_scheme
from runner.manifest.tables import Manifest

PATHS_OF_STAGES = {
    "test_cases": "a file of this machine",
    "tokenizer_dir": "a folder of this machine",
    "path": "a file or folder of this machine",
    "interactions": "a file or folder of this machine",
    "items": "a file or folder of this machine",
    "given_ids": "a parquet file of this machine",
    "templates": "a TOML file of this machine",
    "text_encoder_dir": "a folder of this machine",
    "built_dir": "a folder of this machine",
    "resume_from": "a folder of this machine",
}
"""Keys of stages that name a file or folder."""
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_VARIABLE = re.compile(r"\$\{?\w+\}?|%\w+%")


def check_paths(manifest: Manifest) -> Iterator[Problem]:
    """Every path of a manifest that is written in a way that nothing here understands."""
    given: list[tuple[KeyPath, str | None, str]] = [
        (("output_dir",), manifest.output_dir, "a folder, on a file system that every host sees"),
        (("model", "base_model_dir"), manifest.model.base_model_dir, "a folder with a downloaded model"),
        (("vocab", "item_map"), manifest.vocab.item_map, "a parquet file of this machine"),
        (("cluster", "hostfile"), manifest.cluster.hostfile, "a file of this machine"),
        (("cluster", "ssh_config"), manifest.cluster.ssh_config, "a file of this machine"),
        (("cluster", "env_file"), manifest.cluster.env_file, "a file of NAME=value lines"),
    ]
    for name, stage in manifest.stages.items():
        for key, kind in PATHS_OF_STAGES.items():
            given.append((("stages", name, key), getattr(stage, key, None), kind))
    for path, value, kind in given:
        if value is not None:
            yield from check_path(path, value, kind=kind)
    for name, dataset in manifest.datasets.items():
        yield from _check_sources(("datasets", name), dataset)


def check_path(path: KeyPath, value: str, *, kind: str) -> Iterator[Problem]:
    """What is wrong with one local path."""
    if not value.strip():
        yield Problem(path, "is empty", f"write {kind}")
    elif url_scheme(value):
        yield Problem(path, f"{shown(value)} is a URL", f"write {kind}")
    else:
        yield from _check_words(path, value)


def _check_sources(path: KeyPath, dataset: Dataset) -> Iterator[Problem]:
    for below, source in source_parts(dataset):
        if isinstance(source, str) and source.strip() and not url_scheme(source):
            yield from _check_words((*path, *below), source)


def _check_words(path: KeyPath, value: str) -> Iterator[Problem]:
    variable = _VARIABLE.search(value)
    if value.startswith("~"):
        yield Problem(path, f"{shown(value)}: '~' is not filled in", "write the whole path, /home/...")
    elif variable is not None:
        yield Problem(
            path,
            f"{shown(value)}: {variable[0]} is not filled in",
            "write the whole path, or give it on the command line with --set",
        )
    elif _WINDOWS.match(value):
        yield Problem(path, f"{shown(value)} is a path of Windows", "write one of Linux, /mnt/c/... in WSL")
    elif not value.isprintable():
        yield Problem(path, f"{shown(value)} holds a character that is not printable", "remove it")
    elif value != value.strip():
        yield Problem(path, f"{shown(value)} has a blank at an end", "remove it")
