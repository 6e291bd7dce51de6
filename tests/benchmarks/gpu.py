"""Measure G1 to G8 and G10 on one GPU and print one table: `python -m tests.benchmarks.gpu [G1 ...]`.

Needs the project and nothing else: models are drawn in place, data too. A row that fails is void with its
error and the others still run; what is known so far is written to --json after each row. `--rehearse` walks
the same code with tiny sizes on the CPU. Exits 0 when every row was measured, whatever its goal says; 1 when
one is void; 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:  # as a script from the repository's root
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# read when CUDA starts: memory that grows instead of splitting, and matrix products that can repeat
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers

from onerec.distributed import World, process_group
from tests.benchmarks import table
from tests.benchmarks.gpu_rows.gauge import Gauge
from tests.benchmarks.gpu_rows.lab import Lab
from tests.benchmarks.gpu_rows.registry import ORDER, REGISTRY, load_rows
from tests.benchmarks.gpu_rows.sizes import REAL, REHEARSAL
from tests.benchmarks.harness import Benchmark, Line, Void

WORLD = World(0, 1, 0, 1, "single")
SECONDS_FOR_A_ROW = 10.0
"""With less time left no row is begun."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; the exit code."""
    given = _parser().parse_args(arguments)
    began = time.monotonic()
    load_rows()
    try:
        chosen = sorted(REGISTRY.chosen(given.rows), key=lambda one: ORDER.index(one.row))
    except ValueError as fault:
        _tell(str(fault))
        return 2
    if not given.rehearse and not torch.cuda.is_available():
        _tell("no CUDA device; --rehearse walks the same code on the CPU")
        return 2
    device = torch.device("cpu" if given.rehearse else "cuda:0")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        lab = Lab(
            sizes=REHEARSAL if given.rehearse else REAL,
            gauge=Gauge(device),
            folder=Path(folder),
            tell=_tell,
            deadline=began + 60 * given.minutes,
            checkpointing=given.checkpointing,
        )
        with process_group(WORLD, device=device, env={}):
            results = _measure_all(chosen, lab, given.json)
    print(table.plain(results))
    return 1 if any(line.void for lines in results.values() for line in lines) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows of the goals, such as G2; default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repeat of every row")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for all; later rows are void")
    parser.add_argument(
        "--folder", type=Path, help="where checkpoints and data go for a while; default: /tmp"
    )
    parser.add_argument(
        "--checkpointing",
        default="selective",
        choices=("none", "selective", "full"),
        help="ours, where speed counts",
    )
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU")
    return parser


def _measure_all(chosen: Sequence[Benchmark], lab: Lab, path: Path | None) -> dict[str, list[Line]]:
    results: dict[str, list[Line]] = {}
    for number, one in enumerate(chosen, start=1):
        lab.tell(f"[{number}/{len(chosen)}] {one.row} {one.title}; {lab.seconds_left:.0f} s left")
        results[one.row] = _guarded(one, lab)
        ordered = {row: results[row] for row in sorted(results, key=lambda row: int(row[1:]))}
        if path:
            document = table.document(ordered, about=_about(lab))
            path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return ordered


def _guarded(one: Benchmark, lab: Lab) -> list[Line]:
    """The lines of a row; what it measured before it failed is kept, and a void line says why it ended."""
    if lab.seconds_left < SECONDS_FOR_A_ROW:
        return [Line(one.title, void=f"no time was left; run it alone: gpu.py {one.row}")]
    lines: list[Line] = []
    fault = _fault(one, lab, lines)
    if fault:
        lines.append(Line(one.title, void=fault))
        lab.keep_only()
    return lines


def _fault(one: Benchmark, lab: Lab, lines: list[Line]) -> str:
    """Why a row ended before its end; empty when it did not. Its lines are added to `lines`."""
    try:
        lines.extend(one.measure(lab))
    except Void as reason:
        return str(reason)
    except Exception as fault:  # noqa: BLE001 - a lent GPU is not there again to find the next row's fault
        traceback.print_exc()
        told = str(fault).strip().splitlines() or [""]
        return f"{type(fault).__name__}: {told[0][:200]}"
    return ""


def _about(lab: Lab) -> dict[str, object]:
    return {
        "device": lab.gauge.name(),
        "sizes": lab.sizes.name,
        "checkpointing": lab.checkpointing,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "measured": dt.datetime.now(tz=dt.timezone.utc).isoformat(timespec="seconds"),
        "seconds_left": round(lab.seconds_left),
    }


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
