"""A run's record as what the page shows: sentences, tables and drawings. Pure: the time is given."""

from __future__ import annotations

import difflib
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runner.curves import finite
from runner.flat import differences, flat
from runner.page.charts import charts_of, points_per_curve, thinned
from runner.page.draw import Drawing, draw
from runner.page.gather import Record, StepRecord
from runner.page.pipeline import Picture, picture
from runner.report import counted, decimals, duration, report_lines, size
from runner.status import StageStatus
from runner.status_text import age_text
from runner.story import KILLED, RUNNING, Attempt, Start

SYMBOLS = {
    "done": "✓",
    "running": "▶",
    "failed": "✕",
    "interrupted": "❚❚",
    "killed": "☠",
    "stale": "↻",
    "pending": "○",
}
COUNTS = ("rows", "samples", "tokens", "trained_tokens", "itemic_tokens")


@dataclass(frozen=True)
class StageView:
    """A training stage."""

    status: StageStatus
    figures: tuple[tuple[str, str], ...]
    drawings: tuple[Drawing, ...]
    checkpoints: tuple[tuple[str, ...], ...]
    set_aside: tuple[str, ...]


@dataclass(frozen=True)
class HappeningView:
    """One thing that happened to the run."""

    at: str
    state: str
    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetView:
    """A prepared dataset."""

    name: str
    figures: tuple[tuple[str, str], ...]
    sources: tuple[tuple[str, float, tuple[str, ...]], ...]
    """Name, share of the tokens, and samples, tokens, trained and itemic tokens, dropped."""
    rejects: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PageView:
    """The whole page."""

    name: str
    path: str
    state: str
    reason: str | None
    facts: tuple[tuple[str, str], ...]
    picture: Picture
    steps: tuple[tuple[str, ...], ...]
    stages: tuple[StageView, ...]
    lineage: tuple[tuple[str, str], ...]
    happenings: tuple[HappeningView, ...]
    attempts: tuple[tuple[str, ...], ...]
    faults: int
    datasets: tuple[DatasetView, ...]
    findings: tuple[tuple[str, tuple[str, ...]], ...]
    environment: tuple[tuple[str, str], ...]
    environment_changes: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]
    manifest: str
    overrides: tuple[str, ...]
    resolved: tuple[tuple[str, str, bool], ...]
    manifest_changes: tuple[str, ...]
    commands: tuple[tuple[str, str, str], ...]
    made: str


def view_of(record: Record, *, now: float) -> PageView:
    """Everything the page shows."""
    status, story = record.status, record.story
    return PageView(
        name=status["run"],
        path=str(record.path),
        state=status["state"],
        reason=status["reason"] if status["state"] != "done" else None,
        facts=tuple(_facts(record, now)),
        picture=picture(status["stages"], _reads(record), told=_boxes(status["stages"])),
        steps=tuple(_step_row(stage) for stage in status["stages"]),
        stages=tuple(_stages(record)),
        lineage=tuple(_lineage(record)),
        happenings=tuple(_happenings(record)),
        attempts=tuple(_attempt_row(record, one) for one in story.attempts),
        faults=sum(_fate(record, one) in {"failed", KILLED} for one in story.attempts),
        datasets=tuple(_dataset(step) for step in record.steps if step.summary),
        findings=tuple(_findings(record)),
        environment=tuple((key, _shown(value)) for key, value in flat(record.environment).items()),
        environment_changes=tuple(_environment_changes(story.starts)),
        manifest=record.manifest,
        overrides=record.history.overrides,
        resolved=tuple(_resolved(record)),
        manifest_changes=tuple(_manifest_changes(record)),
        commands=tuple(_commands(record)),
        made=moment(now),
    )


def moment(at: float | None) -> str:
    """A time as people write it, of this machine's zone."""
    return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _facts(record: Record, now: float) -> Iterator[tuple[str, str]]:
    status, story = record.status, record.story
    yield "started", moment(status["started_time"])
    last = status["last_updated_time"]
    if last is not None:
        yield "last sign of life", f"{moment(last)} ({age_text(last, now=now)})"
    spent = sum(stage["running_seconds"] or 0.0 for stage in status["stages"])
    if spent > 0:
        yield "time at work", duration(spent)
    if story.starts and story.starts[-1].owner is not None:
        owner = story.starts[-1].owner
        yield "last runner", f"process {owner['pid']} on host {owner['host']}"
    if len(story.starts) > 1:
        yield "starts", str(len(story.starts))
    if status["state"] not in {"done", "running"}:
        yield "go on with", shlex.join(["runner", "resume", str(record.path)])


def _reads(record: Record) -> dict[str, tuple[str, ...]]:
    return {one.step: one.reads for one in record.story.attempts if one.reads}


def _boxes(stages: Sequence[StageStatus]) -> dict[str, list[str]]:
    conversions = {stage["name"]: stage for stage in stages if stage["kind"] == "convert"}
    return {stage["name"]: list(_box(stage, conversions)) for stage in stages}


def _box(stage: StageStatus, conversions: Mapping[str, StageStatus]) -> Iterator[str]:
    """The state of a step, its time, and what came of it."""
    percent = stage["progress_percentage"]
    share = f" {percent:.0f} %" if percent is not None and stage["state"] not in {"done", "pending"} else ""
    spent = None if share else stage["running_seconds"]
    yield f"{SYMBOLS[stage['state']]} {stage['state']}{share}" + (f", {duration(spent)}" if spent else "")
    if stage["kind"] == "train" and stage["step"] is not None:
        yield f"{stage['step']:,} steps"
    if stage["loss"] is not None:
        yield f"loss {decimals(stage['loss'])}"
    converted = conversions.get(f"{stage['name']}:convert")
    if converted is not None and converted["state"] != "pending":
        yield f"{SYMBOLS[converted['state']]} export {converted['state']}"


def _step_row(stage: StageStatus) -> tuple[str, ...]:
    steps = "" if stage["step"] is None else f"{stage['step']:,} of {_count(stage['total_steps'])}"
    return (
        stage["name"],
        stage["kind"],
        stage["state"],
        steps,
        decimals(stage["loss"]),
        "" if stage["running_seconds"] is None else duration(stage["running_seconds"]),
        str(stage["attempts"] or ""),
        stage["reason"] or "",
    )


def _stages(record: Record) -> Iterator[StageView]:
    found = []
    for step in record.steps:
        attempts = record.story.of(step.step["name"])
        charts = charts_of(step.training, step.validation, attempts=attempts)
        if charts or step.checkpoints:
            found.append((step, charts))
    limit = points_per_curve(sum(len(chart.series) for _, charts in found for chart in charts))
    by_name = {stage["name"]: stage for stage in record.status["stages"]}
    for step, charts in found:
        status = by_name[step.step["name"]]
        yield StageView(
            status=status,
            figures=tuple(_figures(status, step)),
            drawings=tuple(draw(chart) for chart in thinned(charts, limit=limit)),
            checkpoints=tuple(_checkpoint_rows(status, step)),
            set_aside=step.set_aside,
        )


def _figures(stage: StageStatus, step: StepRecord) -> Iterator[tuple[str, str]]:
    if stage["step"] is not None:
        yield "steps", f"{stage['step']:,} of {_count(stage['total_steps'])}"
    if stage["loss"] is not None:
        yield "loss", decimals(stage["loss"])
    if stage["validation_loss"] is not None:
        yield "validation loss", decimals(stage["validation_loss"])
    if step.training.figures.get("total_tokens"):
        yield "tokens read", f"{step.training.figures['total_tokens'][-1][1]:,.0f}"
    rates = sorted(value for _, value in step.training.figures.get("tokens_per_second", []))
    if rates:
        yield "tokens/s, median", f"{rates[len(rates) // 2]:,.0f}"
    if stage["running_seconds"]:
        yield "time", duration(stage["running_seconds"])
    if stage["eta_seconds"] is not None:
        yield "left", duration(stage["eta_seconds"])
    if isinstance(step.result.get("reason"), str):
        yield "ended by", str(step.result["reason"]).replace("_", " ")


def _checkpoint_rows(stage: StageStatus, step: StepRecord) -> Iterator[tuple[str, ...]]:
    for one in step.checkpoints:
        is_latest = f"step{one.step}" == stage["latest_checkpoint"]
        formats = ", ".join(one.formats) or "no"
        yield (
            f"step{one.step}",
            size(one.size),
            moment(one.saved),
            formats,
            "latest" if is_latest else "kept",
        )


def _lineage(record: Record) -> Iterator[tuple[str, str]]:
    """From the base model to the newest: each step that made a model, and what it did."""
    model = record.resolved.get("model")
    base = model.get("base_model_dir") if isinstance(model, dict) else None
    if base:
        yield "base model", str(base)
    done = {stage["name"] for stage in record.status["stages"] if stage["state"] == "done"}
    for step in record.steps:
        name, result = step.step["name"], step.result
        if step.step["kind"] == "init_model" and name in done:
            yield name, f"a model from nothing, {_count(result.get('parameters'))} parameters"
        elif step.step["kind"] == "expand_vocab" and name in done:
            yield name, f"{_count(result.get('new_rows'))} rows for itemic tokens"
        elif step.checkpoints:
            newest = step.checkpoints[-1]
            counts = [pair[0] for pair in _values(result.get("counts")) if isinstance(pair, list) and pair]
            tokens = f", {sum(counts):,} tokens" if counts else ""
            yield name, f"step{newest.step}{tokens}" + ("" if name in done else ", not at its end")


def _fate(record: Record, attempt: Attempt) -> str:
    """The state of an attempt; one that was never ended and whose runner is gone was killed."""
    return KILLED if attempt.state == RUNNING and record.status["state"] != "running" else attempt.state


def _happenings(record: Record) -> Iterator[HappeningView]:
    """Starts, stops and faults in order; attempts that just ended well are in the table of attempts."""
    found: list[tuple[float, HappeningView]] = []
    for number, start in enumerate(record.story.starts):
        before = record.story.starts[number - 1] if number else None
        found.append((start.time, _start_view(start, before)))
        found += [
            (one.began, view)
            for one in record.story.attempts
            if one.start == number
            for view in _fault(record, one)
        ]
        if start.ended is not None:
            found.append((start.ended, _end_view(start)))
        elif start.state == KILLED or record.status["state"] != "running":
            text = "its runner was killed: it wrote no end (kill -9, a lost machine, or want of memory)"
            last = _last_of(record, number)
            found.append((last, HappeningView(f"after {moment(last)}", KILLED, text)))
    for at, steps, reason in record.story.invalidated:
        found.append((at, HappeningView(moment(at), "stale", f"set aside: {', '.join(steps)}; {reason}")))
    yield from (view for _, view in sorted(found, key=lambda pair: pair[0]))


def _last_of(record: Record, start: int) -> float:
    """When a start that was killed was last known to live."""
    mine = [one.ended or one.began for one in record.story.attempts if one.start == start]
    return max([record.story.starts[start].time, *mine])


def _start_view(start: Start, before: Start | None) -> HappeningView:
    """Who started it, and with which settings where they are others than before."""
    who = "" if start.owner is None else f" by process {start.owner['pid']} on host {start.owner['host']}"
    is_other = start.overrides != (before.overrides if before else ())
    overrides = "".join(f" --set {text}" for text in start.overrides) or " no --set"
    verb = "started" if before is None else "went on"
    return HappeningView(moment(start.time), RUNNING, f"{verb}{who}" + (f";{overrides}" if is_other else ""))


def _end_view(start: Start) -> HappeningView:
    code = "" if start.exit_code is None else f" with exit code {start.exit_code}"
    reason = f": {start.reason}" if start.reason else ""
    return HappeningView(moment(start.ended), start.state, f"ended{code}, {start.state}{reason}")


def _fault(record: Record, attempt: Attempt) -> Iterator[HappeningView]:
    fate = _fate(record, attempt)
    if fate not in {"failed", KILLED}:
        return
    step = next((one for one in record.steps if one.step["name"] == attempt.step), None)
    lines = step.last_words.get(attempt.number, ()) if step and fate == "failed" else ()
    text = f"{attempt.step}, attempt {attempt.number}: {_why(attempt, fate)}"
    yield HappeningView(moment(attempt.ended or attempt.began), fate, text, tuple(lines))


def _why(attempt: Attempt, fate: str) -> str:
    if fate == KILLED:
        return "killed with its runner"
    kind = f"{attempt.failure.kind.replace('_', ' ')}: " if attempt.failure and attempt.failure.kind else ""
    return kind + (attempt.reason or "failed")


def _attempt_row(record: Record, attempt: Attempt) -> tuple[str, ...]:
    fate = _fate(record, attempt)
    failure = attempt.failure
    rank = "" if failure is None or failure.rank is None else f"rank {failure.rank}"
    host = "" if failure is None or failure.host is None else f" on {failure.host}"
    return (
        attempt.step,
        str(attempt.number),
        moment(attempt.began),
        "" if attempt.seconds is None else duration(attempt.seconds),
        fate,
        "" if attempt.exit_code is None else str(attempt.exit_code),
        (failure.kind or "").replace("_", " ") if failure else "",
        rank + host,
        (failure.exception if failure else None) or attempt.reason or "",
    )


def _dataset(step: StepRecord) -> DatasetView:
    summary = step.summary
    sources = summary.get("sources")
    total = finite(summary.get("tokens")) or 0.0
    rejects = summary.get("rejects")
    return DatasetView(
        name=step.step["name"].removeprefix("prepare:"),
        figures=tuple(_dataset_figures(summary)),
        sources=tuple(
            (
                str(name),
                (finite(counts.get("tokens")) or 0.0) / total if total else 0.0,
                tuple(
                    _count(counts.get(key))
                    for key in ("samples", "tokens", "trained_tokens", "itemic_tokens", "overlong_dropped")
                ),
            )
            for name, counts in (sources.items() if isinstance(sources, dict) else ())
            if isinstance(counts, dict)
        ),
        rejects=tuple(
            (str(reason), _count(count))
            for reason, count in (rejects.items() if isinstance(rejects, dict) else ())
        ),
    )


def _dataset_figures(summary: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key in (*COUNTS, "rejected", "duplicate_uuids", "overlong_dropped", "longest_sample", "files"):
        if key in summary:
            yield key.replace("_", " "), _count(summary[key])
    packing = summary.get("packing")
    if isinstance(packing, dict):
        yield "packs per epoch", _count(packing.get("packs_per_epoch"))
        padding = finite(packing.get("padding_fraction"))
        if padding is not None:
            yield "padding", f"{padding:.2%}"


def _findings(record: Record) -> Iterator[tuple[str, tuple[str, ...]]]:
    for step in record.steps:
        lines = report_lines(step.result)
        if lines and step.step["kind"] not in {"prepare", "convert"}:
            yield step.step["name"], tuple(lines)


def _environment_changes(
    starts: Sequence[Start],
) -> Iterator[tuple[str, tuple[tuple[str, str, str], ...]]]:
    """What each start found otherwise than the one before it; the time is always another."""
    told = [start for start in starts if start.environment]
    for before, after in pairwise(told):
        changed = differences(flat(before.environment), flat(after.environment))
        rows = tuple((key, _shown(old), _shown(new)) for key, old, new in changed if key != "time")
        yield moment(after.time), rows


def _resolved(record: Record) -> Iterator[tuple[str, str, bool]]:
    """Every key with its value, and whether an override set it."""
    overridden = [text.partition("=")[0].strip() for text in record.history.overrides]
    for key, value in flat(record.resolved).items():
        is_set = any(key == one or key.startswith((f"{one}.", f"{one}[")) for one in overridden)
        yield key, _shown(value), is_set


def _manifest_changes(record: Record) -> Iterator[str]:
    texts = [*record.older_manifests, record.manifest]
    for number, (old, new) in enumerate(pairwise(texts), start=1):
        lines = difflib.unified_diff(
            old.splitlines(),
            new.splitlines(),
            f"manifest {number}",
            f"manifest {number + 1}",
            lineterm="",
            n=1,
        )
        yield "\n".join(lines)


def _commands(record: Record) -> Iterator[tuple[str, str, str]]:
    newest = {one.step: one for one in record.story.attempts}
    for step in record.steps:
        name = step.step["name"]
        if name in newest:
            lines = "\n".join(shlex.join(command) for command in newest[name].argv)
            yield name, f"{step.step['folder']}/command.sh", lines or step.command


def _values(document: object) -> list[object]:
    return list(document.values()) if isinstance(document, dict) else []


def _count(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) and not isinstance(number, bool) else "?"


def _shown(value: object) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return value if isinstance(value, str) else str(value)


def summary_line(view: PageView) -> str:
    """What the verb tells when the page is written."""
    return f"{counted(len(view.stages), 'training stage')}, {counted(view.faults, 'fault')} survived"
