"""What a stage tells while it trains: metrics.jsonl, TensorBoard, trackers, console; rank 0 writes.

A disk or TensorBoard that fails costs one warning, never the training; what can be written later is written
again. Nothing here changes a number of the training.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from onerec.progress import Progress, say, write_json_atomically
from onerec.train.board import Board

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onerec.config import Monitoring
    from onerec.train.trackers import EndState, Trackers

FAULTS = (OSError, RuntimeError, ValueError, TypeError, AttributeError, ImportError)
"""What disks, TensorBoard and a protobuf that does not fit to it raise."""
TAGS = {
    "training/loss": "loss",
    "training/itemic_token_loss": "itemic_loss",
    "training/text_token_loss": "text_loss",
    "training/learning_rate": "learning_rate",
    "training/grad_norm": "grad_norm",
    "perf/sec_per_step": "seconds_per_step",
    "perf/tokens_per_sec": "tokens_per_second",
    "perf/mfu": "mfu",
    "perf/valid_token_ratio": "trained_share",
    "perf/total_num_tokens": "total_tokens",
    "perf/total_num_samples": "total_samples",
    "perf/epoch_idx": "epoch",
    "perf/data_wait": "data_wait",
    "perf/memory_gib": "memory_gib",
}
"""TensorBoard tags, as OpenOneRec's users know them, and the keys of a row that they show."""
TAGS_PER_GPU = {
    "perf/tokens_per_sec_per_gpu_current": "tokens_per_second",
    "perf/valid_tokens_per_sec_per_gpu_current": "trained_tokens_per_second",
    "perf/samples_per_sec_per_gpu_current": "samples_per_second",
}
"""The same, of figures that are shown for one GPU."""


class Window:
    """Throughput since the last report: what all ranks did, and the time that this one waited for data."""

    def __init__(self) -> None:
        self._begin(time.monotonic())

    def _begin(self, now: float) -> None:
        self._began = now
        self._steps = self._tokens = self._trained_tokens = self._samples = 0
        self._flop = self._waited = 0.0

    def add(
        self, *, tokens: int, trained_tokens: int, samples: int, flop: float, waited_seconds: float
    ) -> None:
        """Count one step; the first three are of all ranks."""
        self._steps += 1
        self._tokens += tokens
        self._trained_tokens += trained_tokens
        self._samples += samples
        self._flop += flop
        self._waited += waited_seconds

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was not spent on training."""
        self._began += seconds

    def close(self, *, peak_flop_per_second: float | None) -> dict[str, float]:
        """Figures of the window; a new one begins."""
        now = time.monotonic()
        seconds = max(now - self._began, 1e-9)
        figures = {
            "seconds_per_step": seconds / max(self._steps, 1),
            "tokens_per_second": self._tokens / seconds,
            "trained_tokens_per_second": self._trained_tokens / seconds,
            "samples_per_second": self._samples / seconds,
            "data_wait": self._waited / seconds,
        }
        if peak_flop_per_second:
            figures["mfu"] = self._flop / seconds / peak_flop_per_second
        self._begin(now)
        return figures


class Reporter:
    """Writes rows of figures to every place where people and programs look for them."""

    def __init__(
        self,
        stage: str,
        *,
        output_dir: Path,
        tensorboard_dir: Path,
        total_steps: int,
        start: int,
        monitor: Monitoring,
        trackers: Trackers | None = None,
    ) -> None:
        self._stage, self._total, self._monitor = stage, total_steps, monitor
        self._path, self._validation_path = output_dir / "metrics.jsonl", output_dir / "validation.jsonl"
        self._hit_rate_path = output_dir / "hit_rate.jsonl"
        self._progress = Progress(output_dir, total=total_steps, unit="steps")
        self._figures: dict[str, float] = {}
        self._board = Board(tensorboard_dir, start=start)
        self._trackers = trackers
        self._warned: set[str] = set()
        for path in (self._path, self._validation_path, self._hit_rate_path):
            self._guarded(path.name, lambda path=path: keep_rows_until(path, start))  # type: ignore[misc]

    def tell(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl, TensorBoard and the console; `row["step"]` counts finished steps."""
        scalars = board_scalars(row, monitor=self._monitor)
        self._guarded("metrics.jsonl", lambda: _append(self._path, row))
        self._draw(scalars, row["step"])
        self.advance(row["step"], loss=row["loss"], tokens_per_second=row["tokens_per_second"])
        say(console_line(self._stage, row, total_steps=self._total))

    def tell_validation(self, row: dict[str, Any]) -> None:
        """Append a row to validation.jsonl, TensorBoard and the console."""
        self._guarded("validation.jsonl", lambda: _append(self._validation_path, row))
        self._draw(validation_scalars(row), row["step"])
        say(validation_line(self._stage, row))

    def tell_hit_rate(self, row: dict[str, Any]) -> None:
        """Append a row to hit_rate.jsonl, TensorBoard and the console."""
        self._guarded("hit_rate.jsonl", lambda: _append(self._hit_rate_path, row))
        self._draw(hit_rate_scalars(row), row["step"])
        say(hit_rate_line(self._stage, row))

    def advance(self, step: int, **figures: float) -> None:
        """Move the progress bar; figures that are not given stand as they were."""
        self._figures |= figures
        self._guarded("progress.json", lambda: self._progress.update(step, **self._figures))

    def close(self, state: EndState = "done") -> None:
        """Close what is open; `state` is how the stage ended."""
        self._guarded("TensorBoard", self._board.close)
        if self._trackers:
            self._trackers.close(state)

    def _draw(self, scalars: dict[str, float], step: int) -> None:
        self._guarded("TensorBoard", lambda: self._board.draw(scalars, step))
        if self._trackers:
            self._trackers.tell(scalars, step)

    def _guarded(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except FAULTS as fault:
            if what not in self._warned:
                say(f"warning: {what} cannot be written, training goes on: {fault}", is_warning=True)
                self._warned.add(what)


def _append(path: Path, row: dict[str, Any]) -> None:
    line = json.dumps(row).encode() + b"\n"
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        if file.write(line) != len(line):  # a disk that is full takes what fits
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def keep_rows_until(path: Path, step: int) -> None:
    """Drop rows past `step`, which a resumed stage writes again, and lines that are no row."""
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line + "\n" for line in lines if _step_of(line) <= step]
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def _step_of(line: str) -> float:
    """Step of a row; infinite for a line that is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return math.inf
    step = row.get("step") if isinstance(row, dict) else None
    return step if isinstance(step, int) else math.inf


def board_scalars(row: dict[str, Any], *, monitor: Monitoring) -> dict[str, float]:
    """A row as TensorBoard tags, named as OpenOneRec's users know them."""
    scalars = {tag: row[key] for tag, key in TAGS.items() if row.get(key) is not None}
    ranks = row.get("world_size")
    if ranks:
        scalars |= {tag: row[key] / ranks for tag, key in TAGS_PER_GPU.items() if key in row}
    if monitor.monitor_datasource_loss:
        scalars |= {f"data_source_loss/{source}": loss for source, loss in row.get("source_loss", {}).items()}
    if monitor.monitor_datasource_cnt:
        for unit in ("token", "sample"):
            shares = row.get(f"source_{unit}s_ratio", {})
            scalars |= {f"data_source_{unit}_ratio/{source}": share for source, share in shares.items()}
    return scalars


def console_line(stage: str, row: dict[str, Any], *, total_steps: int) -> str:
    """One line for people."""
    mfu = f"  mfu {row['mfu']:.1%}" if "mfu" in row else ""
    return (
        f"{stage} step {row['step']}/{total_steps}  loss {row['loss']:.4f}  lr {row['learning_rate']:.3g}  "
        f"grad norm {row['grad_norm']:.3f}  {row['tokens_per_second']:,.0f} tokens/s{mfu}"
    )


def validation_scalars(row: dict[str, Any]) -> dict[str, float]:
    """A row of validation.jsonl as TensorBoard tags."""
    kinds = {f"validation/{key}": row[key] for key in ("loss", "itemic_loss", "text_loss")}
    sources = {f"validation_source_loss/{source}": loss for source, loss in row["source_loss"].items()}
    return {tag: value for tag, value in {**kinds, **sources}.items() if value is not None}


def validation_line(stage: str, row: dict[str, Any]) -> str:
    """One line for people."""
    kinds = [f"{kind} {row[f'{kind}_loss']:.4f}" for kind in ("itemic", "text") if row[f"{kind}_loss"]]
    return (
        f"{stage} validation after step {row['step']}: loss {row['loss']:.4f} ({', '.join(kinds)}) "
        f"on {row['samples']:,} samples in {row['seconds']:.1f} s"
    )


def hit_rate_scalars(row: dict[str, Any]) -> dict[str, float]:
    """A row of hit_rate.jsonl as TensorBoard tags."""
    return {
        f"validation/hit_rate@{row['k']}": row["hit_rate"],
        f"validation/ndcg@{row['k']}": row["ndcg"],
        "validation/valid_id_rate": row["valid_id_rate"],
    }


def hit_rate_line(stage: str, row: dict[str, Any]) -> str:
    """One line for people."""
    return (
        f"{stage} after step {row['step']}: hit rate@{row['k']} {row['hit_rate']:.4f}, NDCG@{row['k']} "
        f"{row['ndcg']:.4f}, valid ids {row['valid_id_rate']:.1%} of {row['questions']:,} questions "
        f"in {row['seconds']:.1f} s"
    )


def memory_gib(device: torch.device) -> float:
    """Peak memory so far: allocated on the GPU, or resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource  # noqa: PLC0415 - not on every platform that can import this file

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write_divergence(output_dir: Path, *, rank: int, step: int, uuids: Sequence[str]) -> Path:
    """Write down which samples a step was made of whose loss or gradient is not finite; a full disk warns."""
    path = output_dir / f"diverged-step{step + 1}-rank{rank}.json"
    try:
        write_json_atomically(path, {"step": step + 1, "rank": rank, "uuids": list(uuids)})
    except OSError as fault:
        say(f"warning: {path} cannot be written: {fault}; samples: {', '.join(uuids)}", is_warning=True)
    return path


def running_totals(counts: dict[str, list[int]]) -> dict[str, int]:
    """What was read of all sources so far: `{"total_tokens": ..., "total_samples": ...}`."""
    return {
        f"total_{name}": sum(pair[unit] for pair in counts.values())
        for unit, name in enumerate(("tokens", "samples"))
    }


def shares(counts: dict[str, list[int]]) -> dict[str, dict[str, float]]:
    """Counts as shares of the whole: `{"source_tokens_ratio": {...}, "source_samples_ratio": {...}}`."""
    totals = [max(1, sum(pair[unit] for pair in counts.values())) for unit in (0, 1)]
    return {
        f"source_{name}_ratio": {source: pair[unit] / totals[unit] for source, pair in counts.items()}
        for unit, name in enumerate(("tokens", "samples"))
    }
