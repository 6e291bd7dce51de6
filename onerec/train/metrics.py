"""What a stage tells while it trains: metrics.jsonl, TensorBoard, console, progress.json; rank 0 writes.

A disk or TensorBoard that fails costs a warning, never the training. Nothing here changes a number of the
training.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from onerec.progress import Progress, say, write_json_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onerec.config import Monitoring


class Window:
    """Throughput since the last report: tokens, FLOP and the time that training waited for data."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._tokens = self._flop = self._waited = 0.0

    def add(self, *, tokens: int, flop: float, waited_seconds: float) -> None:
        """Count one step."""
        self._tokens += tokens
        self._flop += flop
        self._waited += waited_seconds

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was not spent on training."""
        self._began += seconds

    def close(self, *, peak_flop_per_second: float | None) -> dict[str, float]:
        """Figures of the window; a new one begins."""
        now = time.monotonic()
        seconds = max(now - self._began, 1e-9)
        figures = {"tokens_per_second": self._tokens / seconds, "data_wait": self._waited / seconds}
        if peak_flop_per_second:
            figures["mfu"] = self._flop / seconds / peak_flop_per_second
        self._began, self._tokens, self._flop, self._waited = now, 0.0, 0.0, 0.0
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
    ) -> None:
        self._stage, self._total, self._monitor = stage, total_steps, monitor
        self._path, self._validation_path = output_dir / "metrics.jsonl", output_dir / "validation.jsonl"
        self._progress = Progress(output_dir, total=total_steps, unit="steps", start=start)
        self._warned: set[str] = set()
        for path in (self._path, self._validation_path):
            self._guarded(path.name, lambda path=path: keep_rows_until(path, start))
        self._board: Any = None
        self._guarded("TensorBoard", lambda: self._open_board(tensorboard_dir, start))

    def tell(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl, TensorBoard and the console; `row["step"]` counts finished steps."""
        scalars = board_scalars(row, monitor=self._monitor)
        self._guarded("metrics.jsonl", lambda: _append(self._path, row))
        self._guarded("TensorBoard", lambda: self._draw(scalars, row["step"]))
        self.advance(row["step"], loss=row["loss"], tokens_per_second=row["tokens_per_second"])
        say(console_line(self._stage, row, total_steps=self._total))

    def tell_validation(self, row: dict[str, Any]) -> None:
        """Append a row to validation.jsonl, TensorBoard and the console."""
        self._guarded("validation.jsonl", lambda: _append(self._validation_path, row))
        self._guarded("TensorBoard", lambda: self._draw(validation_scalars(row), row["step"]))
        say(validation_line(self._stage, row))

    def advance(self, step: int, **figures: float) -> None:
        """Move the progress bar."""
        self._guarded("progress.json", lambda: self._progress.update(step, **figures))

    def close(self) -> None:
        """Flush what is open."""
        if self._board is not None:
            self._guarded("TensorBoard", self._board.close)

    def _open_board(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - slow, rank 0 only

        self._board = SummaryWriter(str(folder), purge_step=start + 1 if start else None)

    def _draw(self, scalars: dict[str, float], step: int) -> None:
        if self._board is not None:
            for tag, value in scalars.items():
                self._board.add_scalar(tag, value, step)

    def _guarded(self, what: str, write: Any) -> None:
        try:
            write()
        except (OSError, RuntimeError, ValueError, ImportError) as fault:
            if what not in self._warned:
                say(f"warning: {what} cannot be written, training goes on: {fault}", is_warning=True)
                self._warned.add(what)


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def keep_rows_until(path: Path, step: int) -> None:
    """Drop rows past `step`, and a torn last one: a resumed stage writes them again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["step"] <= step:
            kept.append(line + "\n")
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def board_scalars(row: dict[str, Any], *, monitor: Monitoring) -> dict[str, float]:
    """A row as TensorBoard tags, named as OpenOneRec's users know them."""
    names = {
        "training/loss": "loss",
        "training/itemic_loss": "itemic_loss",
        "training/text_loss": "text_loss",
        "training/learning_rate": "learning_rate",
        "training/grad_norm": "grad_norm",
        "training/trained_share": "trained_share",
        "training/epoch": "epoch",
        "perf/tokens_per_second": "tokens_per_second",
        "perf/mfu": "mfu",
        "perf/data_wait": "data_wait",
        "perf/memory_gib": "memory_gib",
    }
    scalars = {tag: row[key] for tag, key in names.items() if row.get(key) is not None}
    if monitor.monitor_datasource_loss:
        scalars |= {f"data_source_loss/{source}": loss for source, loss in row.get("source_loss", {}).items()}
    if monitor.monitor_datasource_cnt:
        for unit in ("tokens", "samples"):
            shares = row.get(f"source_{unit}_ratio", {})
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


def memory_gib(device: torch.device) -> float:
    """Peak memory so far: allocated on the GPU, or resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource  # noqa: PLC0415 - not on every platform that can import this file

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write_divergence(output_dir: Path, *, rank: int, step: int, uuids: Sequence[str]) -> Path:
    """Write down which samples a step was made of whose loss or gradient is not finite."""
    path = output_dir / f"diverged-step{step + 1}-rank{rank}.json"
    write_json_atomically(path, {"step": step + 1, "rank": rank, "uuids": list(uuids)})
    return path


class SourceCounts:
    """Tokens and samples read so far, by source, over all ranks: a running total that checkpoints carry."""

    def __init__(self, sources: Sequence[str], *, saved: dict[str, list[int]] | None = None) -> None:
        self._sources = tuple(sources)
        known = saved or {}
        self._total_S2 = torch.tensor([known.get(source, [0, 0]) for source in sources], dtype=torch.int64)
        self._fresh_S2 = torch.zeros_like(self._total_S2)

    def add(self, document_sources: torch.Tensor, lengths: torch.Tensor) -> None:
        """Count the documents of one pack of this rank; source -1 is padding."""
        real = document_sources >= 0
        sources, lengths = document_sources[real], lengths[real].long()
        self._fresh_S2[:, 0].index_add_(0, sources, lengths)
        self._fresh_S2[:, 1].index_add_(0, sources, torch.ones_like(lengths))

    def state_dict(self) -> dict[str, list[int]]:
        """Totals over all ranks, `{source: [tokens, samples]}`; all ranks call it together."""
        dist.all_reduce(self._fresh_S2)
        self._total_S2 += self._fresh_S2
        self._fresh_S2.zero_()
        return dict(zip(self._sources, self._total_S2.tolist(), strict=True))


def shares(counts: dict[str, list[int]]) -> dict[str, dict[str, float]]:
    """Counts as shares of the whole: `{"source_tokens_ratio": {...}, "source_samples_ratio": {...}}`."""
    totals = [max(1, sum(pair[unit] for pair in counts.values())) for unit in (0, 1)]
    return {
        f"source_{name}_ratio": {source: pair[unit] / totals[unit] for source, pair in counts.items()}
        for unit, name in enumerate(("tokens", "samples"))
    }
