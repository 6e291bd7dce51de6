"""Failures, progress and results as text for people. Pure: nothing here prints or reads a file."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runner.history import History
    from runner.outcome import Outcome
    from runner.rundir import RunDir
    from runner.status import RunStatus


def summary_text(
    status: RunStatus,
    history: History,
    *,
    run: RunDir,
    notes: Mapping[str, Sequence[str]],
    tables: Mapping[str, Sequence[str]],
) -> str:
    """The end of a run: time and final loss of every step, what it found out, and where everything is.

    `tables` are those of evaluations, by step: what a run is for, and so the last that is seen.
    """
    rows: list[Sequence[str]] = [("step of the run", "state", "time", "steps", "loss")]
    for stage in status["stages"]:
        seconds = history.step(stage["name"]).seconds
        steps = str(stage["step"] or "") if stage["kind"] == "train" else ""
        time = duration(seconds) if seconds else ""
        rows.append((stage["name"], stage["state"], time, steps, decimals(stage["loss"])))
    told = [f"{name}: {line}" for name, lines in notes.items() for line in lines]
    measured = [line for name, lines in tables.items() for line in ("", f"{name}:", *_indented(lines))]
    return "\n".join(["", *table(rows), *_block(told), "", *_places(status, run), *measured])


def failure_text(
    name: str,
    outcome: Outcome,
    *,
    attempt: int,
    retry_in: float | None,
    log: Path,
    tail: Sequence[str],
    run: RunDir,
    stage: str,
) -> str:
    """What failed, which rank, its last words, and what to do next."""
    lines = [f"{name} failed (attempt {attempt}): {outcome.reason}"]
    if outcome.blamed is not None and outcome.kind != "out_of_host_memory":  # which tells it itself
        lines[0] += f", peak memory {size(outcome.blamed['max_rss_kb'] * 1024)}"
    lines += [f"    {line}" for line in tail]
    if outcome.collateral:
        lines.append(f"  fell with it: {ranks_text(outcome.collateral)}")
    lines.append(f"  log: {log}")
    if outcome.kind == "hang" and outcome.blamed_rank is not None:
        lines.append(f"  where every rank stood: {log.parent}/rank-*.stacks.txt")
    if retry_in is not None:
        lines.append(f"  starting it again in {duration(retry_in)}")
        return "\n".join(lines)
    rank = "" if outcome.blamed_rank is None else f" --rank {outcome.blamed_rank}"
    lines.append(f"  more: runner logs {quote(str(run.path))} --stage {stage}{rank}")
    lines.append(f"  when it is mended: runner resume {quote(str(run.path))}")
    return "\n".join(lines)


def ranks_text(ranks: Sequence[int]) -> str:
    """`rank 3`; `ranks 0, 2`; `7 ranks, 0 to 7` where they are many."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) <= 4:
        return f"ranks {', '.join(map(str, ranks))}"
    return f"{len(ranks)} ranks, {min(ranks)} to {max(ranks)}"


def progress_text(name: str, figures: Mapping[str, object]) -> str:
    """One line of how far a step is: `stage1: 120/400 steps, loss 3.214, 12,345 tokens/s, 1m20s left`."""
    done, total = figures.get("done"), figures.get("total")
    parts = [f"{name}: {done}/{total} {figures.get('unit', '')}".rstrip(), *beside_the_bar(figures)]
    eta = figures.get("eta_seconds")
    if isinstance(eta, (int, float)):
        parts.append(f"{duration(eta)} left")
    return ", ".join(parts)


def beside_the_bar(figures: Mapping[str, object]) -> list[str]:
    """Loss and rate, as far as the step tells them."""
    parts = []
    if isinstance(loss := figures.get("loss"), (int, float)):
        parts.append(f"loss {decimals(loss)}")
    if isinstance(rate := figures.get("tokens_per_second"), (int, float)):
        parts.append(f"{rate:,.0f} tokens/s")
    return parts


def result_text(result: Mapping[str, object]) -> str:
    """The end of a step in a few words: `300 of 300 steps, loss 2.871`."""
    parts = []
    if isinstance(step := result.get("step"), int) and "total_steps" in result:
        parts.append(f"{step} of {result['total_steps']} steps")
    if isinstance(loss := result.get("loss"), (int, float)):
        parts.append(f"loss {decimals(loss)}")
    return ", ".join(parts)


def report_lines(result: object) -> list[str]:
    """The lines that a step's result has for people."""
    told = result.get("report") if isinstance(result, dict) else None
    return [str(line) for line in told] if isinstance(told, list) else []


def duration(seconds: float) -> str:
    """`0.4s`, `12s`, `3m05s`, `2h10m`, `3d04h`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest}s"
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


def size(count: int) -> str:
    """Bytes as `1.2 GB`."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def counted(number: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def decimals(number: float | None) -> str:
    """Four decimals; nothing for None."""
    return "" if number is None else f"{number:.4f}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart; columns that only have a heading are left out."""
    kept = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in kept]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*kept, strict=True)
    ]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _block(lines: Sequence[str]) -> list[str]:
    return ["", *lines] if lines else []


def _places(status: RunStatus, run: RunDir) -> list[str]:
    models = [
        f"  model of {stage['name']}: {run.stage(stage['name']).converted}"
        for stage in status["stages"]
        if stage["kind"] == "train" and stage["state"] == "done"
    ]
    return [
        *models,
        f"  logs: {run.path}/<stage>/stdout.log, stderr.log, logs/attempt-<n>/",
        f"  curves: tensorboard --logdir {quote(str(run.path))}",
    ]
