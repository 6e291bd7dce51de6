"""What a run was made with: versions, revision, host, GPUs; of the environment only an allow-list."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES = (
    "onerec-runner",
    "torch",
    "transformers",
    "tokenizers",
    "torchdata",
    "pyarrow",
    "safetensors",
    "pydantic",
    "numpy",
    "tensorboard",
    "jinja2",
)
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "PYTHONPATH",
    "SLURM_JOB_ID",
    "SLURM_NNODES",
    "VIRTUAL_ENV",
)
GPU_QUERY = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")


def describe(env: Mapping[str, str]) -> dict[str, object]:
    """This host, interpreter and working folder as one JSON object."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version,
        "executable": sys.executable,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git": _git(),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "gpus": gpu_lines(),
        "env": {name: env[name] for name in VARIABLES if name in env},
    }


def gpu_lines() -> list[str]:
    """`name, memory, driver` of every GPU of this host; nothing without nvidia-smi."""
    return _told(["nvidia-smi", *GPU_QUERY])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, object] | None:
    """Revision of the working folder; None outside a repository."""
    revision = _told(["git", "rev-parse", "HEAD"])
    if not revision:
        return None
    return {"revision": revision[0], "changed_files": _told(["git", "status", "--porcelain"])}


def _told(argv: list[str]) -> list[str]:
    """What a program prints, line by line; nothing if it is not there or fails."""
    if shutil.which(argv[0]) is None:
        return []
    try:
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return []
    return ended.stdout.splitlines() if ended.returncode == 0 else []
