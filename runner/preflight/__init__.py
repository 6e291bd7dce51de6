"""Look, before anything starts, at the files, hosts, programs, packages, disk and GPUs a manifest counts on.

Everything is found in one go and nothing is changed. No torch and no pyarrow: this answers fast.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from onerec.config import load_cases
from onerec.errors import ConfigError
from runner.disk import StageDisk, disks_of
from runner.env_file import EnvFileError, variables_of
from runner.hosts import HostfileError, read_hostfile
from runner.manifest.faults import dotted
from runner.manifest.tables import BuildDataStage, Manifest
from runner.memories import memories_of
from runner.plan.material import BUILD_INPUTS, ITEMS
from runner.preflight.beside import check_beside
from runner.preflight.data import check_sources
from runner.preflight.findings import Finding, error, warning
from runner.preflight.here import check_here, nearest_folder
from runner.preflight.memory import check_memory
from runner.preflight.model import check_base_model
from runner.preflight.slurm import check_slurm
from runner.report import size
from runner.sizes import sizes_of

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "pyarrow",
    "torchdata",
    "safetensors",
    "tensorboard",
    "numpy",
)
"""Distributions that the trainer needs."""


def check(
    manifest: Manifest, *, packages: Sequence[str] = PACKAGES, free_bytes: int | None = None
) -> tuple[Finding, ...]:
    """What would keep the run from starting (errors) or spoil it later (warnings), in the manifest's order.

    `manifest` has absolute input paths, as `runner.manifest.load` gives it. `free_bytes` replaces what the
    disk of `output_dir` says.
    """
    return tuple(
        finding
        for findings in (
            check_output(manifest, free_bytes=free_bytes),
            check_here(Path(manifest.output_dir), env=os.environ),
            check_base_model(manifest),
            check_cluster(manifest),
            check_sources(manifest),
            check_stage_files(manifest),
            check_memory(memories_of(manifest, env=os.environ)),
            check_packages(packages),
            check_beside(manifest),
        )
        for finding in findings
    )


def check_output(manifest: Manifest, *, free_bytes: int | None = None) -> Iterator[Finding]:
    """The disk of output_dir: that it can be written to, and has room for the checkpoints that are kept."""
    folder = nearest_folder(Path(manifest.output_dir))
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield error(
            "output_dir", f"{folder} is no folder that can be written to", "choose another output_dir"
        )
        return
    free = shutil.disk_usage(folder).free if free_bytes is None else free_bytes
    disks = disks_of(manifest, sizes_of(manifest))
    needed = checkpoint_bytes(disks.values())
    for name, disk in disks.items():
        if free < disk.checkpoint:
            yield error(
                dotted(("stages", name)),
                f"a checkpoint needs {size(disk.checkpoint)}, and the disk of {folder} has {size(free)} free",
                "make room, or choose another output_dir",
            )
    if free < needed:
        yield warning(
            "output_dir",
            f"{size(free)} are free on the disk of {folder}, and the checkpoints need about {size(needed)}",
            "make room, choose another output_dir, or lower keep_checkpoints",
        )


def checkpoint_bytes(disks: Iterable[StageDisk]) -> int:
    """What all training stages leave in the end, or while the one with the largest checkpoint still saves."""
    told = list(disks)
    left = sum(disk.peak - disk.checkpoint for disk in told)
    return left + max((disk.checkpoint for disk in told), default=0)


def check_cluster(manifest: Manifest) -> Iterator[Finding]:
    """The hostfile, and the programs that start processes."""
    cluster = manifest.cluster
    if cluster.launcher == "mpirun" and shutil.which("mpirun") is None:
        yield error("cluster.launcher", "mpirun is not on the PATH", "install Open MPI, or choose torchrun")
    if cluster.launcher == "slurm":
        yield from check_slurm(cluster, env=os.environ)
    if cluster.hostfile is not None:
        yield from _check_hostfile(manifest, Path(cluster.hostfile))
    if cluster.env_file is not None:
        yield from _check_env_file(Path(cluster.env_file))


def _check_env_file(path: Path) -> Iterator[Finding]:
    place = "cluster.env_file"
    try:
        variables_of(str(path))
    except EnvFileError as fault:
        message, _, remedy = str(fault).removeprefix(f"{place} ").rpartition("; ")
        yield error(place, message, remedy)
        return
    if path.stat().st_mode & 0o077:
        yield warning(place, f"others than you may read {path}", f"chmod 600 {shlex.quote(str(path))}")


def _check_hostfile(manifest: Manifest, path: Path) -> Iterator[Finding]:
    try:
        hosts = read_hostfile(path)
    except HostfileError as fault:
        for line in str(fault).splitlines():
            message, _, remedy = line.partition("; ")
            yield error("cluster.hostfile", message, remedy)
        return
    cluster = manifest.cluster
    fewest, _ = cluster.node_range
    if len(hosts) < fewest:
        yield error(
            "cluster.nnodes", f"{path} has {len(hosts)} of {fewest} hosts", "add hosts, or lower nnodes"
        )
    wanted = cluster.nproc_per_node
    for host in hosts:
        if isinstance(wanted, int) and host.slots is not None and host.slots < wanted:
            yield error(
                "cluster.nproc_per_node",
                f"{wanted} processes do not fit on {host.name}, which has slots={host.slots} in {path}",
                "raise its slots, or lower nproc_per_node",
            )
    remote = len(hosts) > 1 and cluster.launcher in ("torchrun", "mpirun")
    if remote and shutil.which("ssh") is None:
        yield error("cluster.hostfile", "ssh is not on the PATH, and starts the other hosts", "install it")


def check_stage_files(manifest: Manifest) -> Iterator[Finding]:
    """The files and folders that stages name."""
    if manifest.vocab.item_map is not None:
        yield from _check_there("vocab.item_map", Path(manifest.vocab.item_map))
    for name, stage in manifest.stages.items():
        if stage.kind == "build_data":
            yield from _check_inputs(f"stages.{name}", stage)
        if stage.kind == "evaluate" and stage.built_dir is not None:
            yield from _check_there(f"stages.{name}.built_dir", Path(stage.built_dir, ITEMS))
        if stage.kind == "train" and stage.resume_from is not None:
            yield from _check_there(f"stages.{name}.resume_from", Path(stage.resume_from))
        if stage.kind == "init_model" and stage.tokenizer_dir is not None:
            yield from _check_there(
                f"stages.{name}.tokenizer_dir", Path(stage.tokenizer_dir, "tokenizer.json")
            )
        if stage.kind == "test_model" and stage.test_cases is not None:
            yield from _check_cases(f"stages.{name}.test_cases", Path(stage.test_cases))


def _check_inputs(place: str, stage: BuildDataStage) -> Iterator[Finding]:
    for key in BUILD_INPUTS:
        path = getattr(stage, key)
        if path is not None:
            yield from _check_there(f"{place}.{key}", Path(path))
    if stage.text_encoder_dir is not None and Path(stage.text_encoder_dir).is_dir():
        yield from _check_there(f"{place}.text_encoder_dir", Path(stage.text_encoder_dir, "config.json"))


def _check_there(place: str, path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield error(
            place, f"{path} is not there", "correct the path; it is relative to the manifest's folder"
        )


def _check_cases(place: str, path: Path) -> Iterator[Finding]:
    if not path.is_file():
        yield from _check_there(place, path)
        return
    try:
        load_cases(path)
    except ConfigError as fault:
        for line in str(fault).split("\n"):
            message, _, remedy = line.partition("; ")
            yield error(place, message, remedy)


def check_packages(packages: Sequence[str] = PACKAGES) -> Iterator[Finding]:
    """The Python packages of the trainer; they are looked up, not imported."""
    for name in packages:
        if not _is_installed(name):
            yield error("", f"the Python package {name} is not installed", "install this project with pip")


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
