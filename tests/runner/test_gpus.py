from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.gpus import Gpu, parse_gpu, smallest, visible_gpus

TWO = "NVIDIA H200, 143771 MiB, 570.86.15\nNVIDIA A100-SXM4-80GB, 81920 MiB, 570.86.15\n"
H200, A100 = Gpu("NVIDIA H200", 143771 << 20), Gpu("NVIDIA A100-SXM4-80GB", 81920 << 20)


def put_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, *, code: int = 0) -> None:
    """A program of that name, first on the PATH."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {code}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), "/usr/bin", "/bin"]))


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, (H200, A100)),
        ("0", (H200,)),
        ("1,0", (A100, H200)),
        ("", ()),
        ("-1", ()),
        ("GPU-1a2b", (H200, A100)),
        ("7", ()),
    ],
)
def test_gpus_are_those_that_a_process_would_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, found: tuple[Gpu, ...]
) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, TWO)
    env = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert visible_gpus(env) == found


def test_a_driver_that_fails_tells_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_nvidia_smi(tmp_path, monkeypatch, TWO, code=9)
    assert visible_gpus({}) == ()


def test_without_the_program_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({}) == ()


@pytest.mark.parametrize(
    "line", ["", "No devices were found", "NVIDIA H200, [Insufficient Permissions], 570"]
)
def test_lines_without_memory_tell_no_gpu(line: str) -> None:
    assert parse_gpu(line) is None


@pytest.mark.parametrize(
    ("gpus", "ranks", "decides"),
    [
        ((H200, A100), 2, A100),
        ((A100, H200), 1, H200),
        ((A100, H200, A100), 2, A100),
        ((A100,), 8, A100),
        ((), 1, None),
    ],
)
def test_the_smallest_of_those_that_are_used_decides(
    gpus: tuple[Gpu, ...], ranks: int, decides: Gpu | None
) -> None:
    assert smallest(gpus, ranks=ranks) == decides
