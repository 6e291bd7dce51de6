"""C11: a checkpoint to a Hugging Face folder in bf16, against load everything, cast and save_pretrained.

The checkpoint is of a random tied Qwen3 (0.6B or 1.7B, 176,384 rows), fp32, written by DCP from one rank
as a stage writes it, without moments. Both begin with the start of a process and end with its end; ours
checks the checkpoint's digests, flushes the folder to the disk and proves it, the peer does none of that.
Every tensor of both folders must be equal, byte by byte. Memory is the most that the process holds (VmHWM),
mapped files and packages included; one thread for torch.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open

from tests.benchmarks import checkpoints
from tests.benchmarks.environment import Bench, cache_folder, run_script
from tests.benchmarks.harness import HERE, Line, Lines, Run, Void, at_most, benchmark, figure, in_turn

TITLE = "checkpoint to Hugging Face, bf16, random Qwen3-{size}"
PEER = "load, cast, save_pretrained"
SIZES = ("0.6B", "1.7B")


@benchmark("C11", "checkpoint to Hugging Face", needs_peers=False)
def convert(bench: Bench) -> Lines:
    """Seconds and peak memory of whole processes, for both sizes."""
    for size in SIZES:
        yield from _converted(bench, size, repeats=bench.times(3))


def _converted(bench: Bench, size: str, *, repeats: int) -> Lines:
    folder = bench.kept(f"c11-{size}", lambda path: checkpoints.make(path, size=size))
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        places = {name: Path(scratch) / name for name in ("ours", "peer")}
        runs = in_turn(
            {
                "ours": lambda: _fresh(
                    places["ours"], lambda p: bench.ours("convert", folder=folder, output=p)
                ),
                PEER: lambda: _fresh(places["peer"], lambda p: _peer(bench, folder=folder, output=p)),
            },
            repeats=repeats,
        )
        require_equal_tensors(places["ours"], places["peer"])
    title = TITLE.format(size=size)
    yield Line(f"{title}: time", figure("ours", runs["ours"]), figure(PEER, runs[PEER]), at_most(1.0))
    ours, peer = (figure(name, runs[name], key="bytes", unit="B") for name in ("ours", PEER))
    yield Line(f"{title}: peak memory", ours, peer, at_most(0.25))


def _fresh(place: Path, run: Callable[[Path], Run]) -> Run:
    shutil.rmtree(place, ignore_errors=True)
    return run(place)


def _peer(bench: Bench, **arguments: object) -> Run:
    """The peer is made of packages that ours needs too, so it runs in the same environment."""
    bench.tell("  peer: convert")
    return run_script(sys.executable, HERE / "peers" / "convert.py", arguments)


def require_equal_tensors(ours: Path, peer: Path) -> None:
    """Raise Void unless both folders hold the same tensors in the same bytes."""
    found = [
        {name: path for path in sorted(folder.glob("*.safetensors")) for name in _names(path)}
        for folder in (ours, peer)
    ]
    if set(found[0]) != set(found[1]):
        raise Void(f"other tensors: {sorted(set(found[0]) ^ set(found[1]))[:3]}")
    for name in found[0]:
        one, other = (_bytes(some[name], name) for some in found)
        if one != other:
            raise Void(f"{name} differs")


def _names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _bytes(path: Path, name: str) -> bytes:
    import torch

    with safe_open(path, framework="pt") as file:
        return bytes(file.get_tensor(name).view(torch.uint8).numpy().data)
