"""The status of a run as one screen for people: at most 80 columns, readable without colours. Pure.

First the steps as a table, as many columns as fit; then all about those that run or are not well.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from runner.curves import BLOCKS, sparkline
from runner.printable import printable
from runner.report import decimals, duration

if TYPE_CHECKING:
    from runner.status import LastFailure, RunStatus, StageStatus

WIDTH = 80
NAME_WIDTH = 24
COURSE_POINTS = 12
CLOCK_SLACK_SECONDS = 2.0
"""Clocks of hosts differ a little; what is younger than that is from now."""

COLUMNS = ("step of the run", "state", "step", "done", "loss", "course", "tokens/s", "left", "time", "tries")
DROPPED_FIRST = ("time", "tries", "tokens/s", "course", "left", "done")
"""Columns that give way where all would be too wide."""
COLOURS = {
    "running": "36;1",
    "done": "32",
    "failed": "31;1",
    "interrupted": "33",
    "stale": "35",
    "pending": "2",
}


def status_text(status: RunStatus, *, now: float, has_styles: bool = False, blocks: str = BLOCKS) -> str:
    """The whole screen; `now` in seconds since the epoch, `blocks` what curves are drawn with."""
    lines = [*_head(status, now), "", *_table(status["stages"], blocks)]
    for stage in status["stages"]:
        details = list(_details(stage, now=now, blocks=blocks))
        lines += ["", *details] if details else []
    lines += _headlines(status["stages"])
    lines += _stale(status["stages"])
    cut = [_cut(line, WIDTH) for line in lines]
    return "\n".join(_coloured(cut, status) if has_styles else cut)


def age_text(at: float | None, *, now: float) -> str:
    """`12s ago`; a time in the future says so, for then a clock is wrong."""
    if at is None:
        return "at an unknown time"
    seconds = now - at
    if seconds < -CLOCK_SLACK_SECONDS:
        return f"{duration(-seconds)} in the future (clocks differ)"
    return "just now" if seconds < 1 else f"{duration(seconds)} ago"


def wrapped(text: str, *, width: int, indent: str) -> list[str]:
    """Lines of at most `width` columns, all after the first indented; words that are too long are broken."""
    lines, line = [], ""
    for word in printable(text).split():
        if line.strip() and columns(line) + 1 + columns(word) > width:
            lines.append(line)
            line = indent
        line += word if not line.strip() else f" {word}"
        while columns(line) > width:
            head = _cut(line, width, ellipsis="")
            lines.append(head)
            line = indent + line[len(head) :]
    return [*lines, line] if line.strip() else lines


def columns(text: str) -> int:
    """Columns of a terminal that a text takes: two for each Chinese character."""
    return sum(2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in text)


def _head(status: RunStatus, now: float) -> Iterator[str]:
    sign = f"last sign of life {age_text(status['last_updated_time'], now=now)}"
    title = f"run {printable(status['run'])}: {status['state']}"
    if status["last_updated_time"] is None:
        yield title
    elif columns(title) + 2 + len(sign) <= WIDTH:
        yield title + " " * (WIDTH - columns(title) - len(sign)) + sign
    else:
        yield from (title, sign)
    told = {stage["reason"] for stage in status["stages"]}
    if status["reason"] and status["state"] != "done" and not _is_told(status["reason"], told):
        yield from wrapped(status["reason"], width=WIDTH, indent="  ")


def _is_told(reason: str, told: set[str | None]) -> bool:
    """Whether a step says it already: the run repeats it as `stage2: reason`."""
    return any(one is not None and (reason == one or reason.endswith(f": {one}")) for one in told)


def _table(stages: Sequence[StageStatus], blocks: str) -> list[str]:
    if not stages:
        return ["no step has been planned yet"]
    rows = [dict(zip(COLUMNS, _cells(stage, blocks), strict=True)) for stage in stages]
    kept = [name for name in COLUMNS if any(row[name] for row in rows)]
    for dropped in (None, *DROPPED_FIRST):
        kept = [name for name in kept if name != dropped]
        widths = {name: max(columns(name), *(columns(row[name]) for row in rows)) for name in kept}
        if sum(widths.values()) + 2 * (len(kept) - 1) <= WIDTH:
            break
    return [
        "  ".join(row[name] + " " * (widths[name] - columns(row[name])) for name in kept).rstrip()
        for row in [{name: name for name in kept}, *rows]
    ]


def _cells(stage: StageStatus, blocks: str) -> tuple[str, ...]:
    percent = stage["progress_percentage"]
    rate, left, spent = stage["tokens_per_second"], stage["eta_seconds"], stage["running_seconds"]
    return (
        _cut(printable(stage["name"]), NAME_WIDTH),
        stage["state"],
        "" if stage["step"] is None else f"{stage['step']}/{_count(stage['total_steps'])}",
        "" if percent is None or stage["state"] == "done" else f"{percent:.0f} %",
        decimals(stage["loss"]),
        sparkline(shortened(stage["loss_curve"], COURSE_POINTS), blocks=blocks),
        "" if rate is None else f"{rate:,.0f}",
        "" if left is None else duration(left),
        "" if spent is None else duration(spent),
        str(stage["attempts"]) if stage["attempts"] > 1 else "",
    )


def shortened(values: Sequence[float], limit: int) -> list[float]:
    """At most `limit` of the values, first and last among them."""
    if len(values) <= limit:
        return list(values)
    return [values[(len(values) - 1) * number // (limit - 1)] for number in range(limit)]


def _details(stage: StageStatus, *, now: float, blocks: str) -> Iterator[str]:
    """What there is to know about a step that runs, waits or is not well."""
    if stage["state"] == "stale" or (stage["state"] != "running" and stage["reason"] is None):
        return
    yield from wrapped(f"{stage['name']}: {_summary(stage)}", width=WIDTH, indent="  ")
    if stage["state"] == "running":
        yield from _live(stage, blocks)
    if stage["latest_checkpoint"] is not None:
        at = stage["latest_checkpoint_time"]
        saved = printable(stage["latest_checkpoint"]) + ("" if at is None else f", {age_text(at, now=now)}")
        yield f"  checkpoint   {saved}"
    if stage["state"] == "running" and stage["last_updated_time"] is not None:
        yield f"  last sign    {age_text(stage['last_updated_time'], now=now)}"
    failure = stage["last_failure"]
    if failure is not None:
        label = "  last fault   "
        for line in wrapped(_failure(failure), width=WIDTH - len(label), indent=""):
            yield label + line
            label = " " * len(label)


def _headlines(stages: Sequence[StageStatus]) -> list[str]:
    """What evaluations have found."""
    told = [f"{stage['name']}: {stage['headline']}" for stage in stages if stage["headline"] is not None]
    return ["", *(line for text in told for line in wrapped(text, width=WIDTH, indent="  "))] if told else []


def _stale(stages: Sequence[StageStatus]) -> list[str]:
    """One paragraph for all steps that are to be done again: they mostly have one reason."""
    reasons: dict[str, list[str]] = {}
    for stage in stages:
        if stage["state"] == "stale":
            reasons.setdefault(stage["reason"] or "to be run again", []).append(stage["name"])
    found = []
    for reason, names in reasons.items():
        found += ["", *wrapped(f"stale, {reason}: {', '.join(names)}", width=WIDTH, indent="  ")]
    return found


def _summary(stage: StageStatus) -> str:
    if stage["state"] != "running":
        return f"{stage['state']}; {stage['reason']}"
    parts = ["running"]
    if stage["phase"] in {"set-up", "save", "evaluate", "end"}:
        parts[0] += f" ({stage['phase']})"
    if stage["step"] is not None:
        percent = stage["progress_percentage"]
        share = "" if percent is None else f" ({percent:.0f} %)"
        parts.append(f"{stage['step']:,} of {_count(stage['total_steps'])} done{share}")
    left = stage["eta_seconds"]
    parts.append("time left unknown" if left is None else f"{duration(left)} left")
    if stage["attempts"] > 1:
        parts.append(f"attempt {stage['attempts']}")
    return ", ".join(parts)


def _live(stage: StageStatus, blocks: str) -> Iterator[str]:
    if stage["loss"] is not None:
        told = f"  loss         {decimals(stage['loss'])}  {sparkline(stage['loss_curve'], blocks=blocks)}"
        validation = stage["validation_loss"]
        yield told.rstrip() + ("" if validation is None else f"  validation {decimals(validation)}")
    if stage["hit_rate"] is not None:
        yield f"  hit rate     {decimals(stage['hit_rate'])}"
    speed = []
    if stage["tokens_per_second"] is not None:
        speed.append(f"{stage['tokens_per_second']:,.0f} tokens/s")
    if stage["mfu"] is not None:
        speed.append(f"MFU {stage['mfu']:.1%}")
    if stage["data_wait_share"] is not None:
        speed.append(f"{stage['data_wait_share']:.1%} of the time waiting for data")
    if speed:
        yield f"  speed        {', '.join(speed)}"


def _failure(failure: LastFailure) -> str:
    """`attempt 1: out_of_gpu_memory, rank 3 on host2: OutOfMemoryError: ...`."""
    rank = None if failure["rank"] is None else f"rank {failure['rank']}"
    if rank and failure["host"]:
        rank += f" on {failure['host']}"
    parts = ", ".join(part for part in (failure["fault"], rank) if part)
    words = failure["exception"] or ("" if parts else failure["reason"])
    return f"attempt {failure['attempt']}: " + ": ".join(part for part in (parts, words) if part)


def _count(number: int | None) -> str:
    return "?" if number is None else str(number)


def _cut(text: str, width: int, *, ellipsis: str = "~") -> str:
    """The text, or as much of its beginning as fits."""
    if columns(text) <= width:
        return text
    kept, room = "", width - len(ellipsis)
    for mark in text:
        room -= columns(mark)
        if room < 0:
            break
        kept += mark
    return kept + ellipsis


def _coloured(lines: Sequence[str], status: RunStatus) -> Iterator[str]:
    """The first word of state in each line of the table in its colour, headings bold."""
    states = [status["state"], *(stage["state"] for stage in status["stages"])]
    names = [_cut(printable(stage["name"]), NAME_WIDTH) for stage in status["stages"]]
    table_starts = next((number for number, line in enumerate(lines) if line.startswith(COLUMNS[0])), 0)
    for number, line in enumerate(lines):
        row = number - table_starts - 1
        if number in {0, table_starts}:
            yield f"\x1b[1m{line}\x1b[0m"
        elif 0 <= row < len(names):
            state = states[row + 1]
            at = line.index(state, columns(names[row]) and len(names[row]))
            styled = f"\x1b[{COLOURS[state]}m{state}\x1b[0m"
            yield line[:at] + styled + line[at + len(state) :]
        else:
            yield line
