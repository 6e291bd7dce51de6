"""A run's record as what the page shows: sentences, tables and drawings. Pure: the time is given."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.flat import flat
from runner.page.background import (
    DatasetView,
    commands,
    dataset,
    environment_changes,
    findings,
    manifest_changes,
    resolved,
)
from runner.page.charts import charts_of, points_per_curve, thinned
from runner.page.draw import Drawing, draw
from runner.page.evaluation import EvaluationView, evaluations
from runner.page.gather import Record, StepRecord
from runner.page.happenings import HappeningView, attempt_row, fate, happenings
from runner.page.pipeline import Picture, picture
from runner.page.wording import count, moment, shown
from runner.report import counted, decimals, duration, size
from runner.status import StageStatus
from runner.status_text import age_text
from runner.story import KILLED

SYMBOLS = {
    "done": "✓",
    "running": "▶",
    "failed": "✕",
    "interrupted": "❚❚",
    "killed": "☠",
    "stale": "↻",
    "pending": "○",
}


@dataclass(frozen=True)
class StageView:
    """A training stage."""

    status: StageStatus
    figures: tuple[tuple[str, str], ...]
    drawings: tuple[Drawing, ...]
    checkpoints: tuple[tuple[str, ...], ...]
    set_aside: tuple[str, ...]


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
    evaluations: tuple[EvaluationView, ...]
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
        evaluations=tuple(evaluations(record)),
        stages=tuple(_stages(record)),
        lineage=tuple(_lineage(record)),
        happenings=tuple(happenings(record)),
        attempts=tuple(attempt_row(record, one) for one in story.attempts),
        faults=sum(fate(record, one) in {"failed", KILLED} for one in story.attempts),
        datasets=tuple(dataset(step) for step in record.steps if step.summary),
        findings=tuple(findings(record)),
        environment=tuple((key, shown(value)) for key, value in flat(record.environment).items()),
        environment_changes=tuple(environment_changes(story.starts)),
        manifest=record.manifest,
        overrides=record.history.overrides,
        resolved=tuple(resolved(record)),
        manifest_changes=tuple(manifest_changes(record)),
        commands=tuple(commands(record)),
        made=moment(now),
    )


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
    steps = "" if stage["step"] is None else f"{stage['step']:,} of {count(stage['total_steps'])}"
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
        charts = charts_of(
            step.training,
            step.validation,
            hit_rates=step.hit_rates,
            best_step=step.best_step,
            attempts=attempts,
        )
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
        yield "steps", f"{stage['step']:,} of {count(stage['total_steps'])}"
    if stage["loss"] is not None:
        yield "loss", decimals(stage["loss"])
    if stage["validation_loss"] is not None:
        yield "validation loss", decimals(stage["validation_loss"])
    if stage["hit_rate"] is not None:
        yield "hit rate", decimals(stage["hit_rate"])
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
        roles = ["latest"] if f"step{one.step}" == stage["latest_checkpoint"] else []
        roles += ["best"] if one.step == step.best_step else []
        formats = ", ".join(one.formats) or "no"
        yield (
            f"step{one.step}",
            size(one.size),
            moment(one.saved),
            formats,
            ", ".join(roles) or "kept",
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
            yield name, f"a model from nothing, {count(result.get('parameters'))} parameters"
        elif step.step["kind"] == "expand_vocab" and name in done:
            yield name, f"{count(result.get('new_rows'))} rows for itemic tokens"
        elif step.checkpoints:
            newest = step.checkpoints[-1]
            counts = [pair[0] for pair in _values(result.get("counts")) if isinstance(pair, list) and pair]
            tokens = f", {sum(counts):,} tokens" if counts else ""
            yield name, f"step{newest.step}{tokens}" + ("" if name in done else ", not at its end")


def summary_line(view: PageView) -> str:
    """What the verb tells when the page is written."""
    return f"{counted(len(view.stages), 'training stage')}, {counted(view.faults, 'fault')} survived"


def _values(document: object) -> list[object]:
    return list(document.values()) if isinstance(document, dict) else []
