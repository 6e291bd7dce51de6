"""A plan as text for people and as JSON for programs. Pure.

The JSON is a surface that scripts rely on: keys are added, never renamed.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.report import size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.decide import Decision
    from runner.disk import StageDisk
    from runner.identity import Files
    from runner.launch.values import Command
    from runner.memory import StageMemory
    from runner.reading import Reading
    from runner.steps import Plan, Read, Step

SCHEMA_VERSION = 1
VERBS = {"skip": "", "start": "to run, ", "continue": "to go on, ", "drift": "DRIFTED, "}


@dataclass(frozen=True)
class PlanView:
    """A plan with all that was found out about it."""

    plan: Plan
    decisions: Sequence[Decision]
    commands: Mapping[str, tuple[Command, ...]]
    """By step; a step is missing where the commands cannot be told."""
    problems: tuple[str, ...]
    """Why some cannot be told."""
    outside: Mapping[str, Files]
    """What stands at each place outside the run."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """How much each training step reads, where its data is prepared."""
    memories: Mapping[str, StageMemory] = field(default_factory=dict)
    """What each training step needs on every GPU, where the sizes of its model are known."""
    disks: Mapping[str, StageDisk] = field(default_factory=dict)
    """What each training step's checkpoints need, where the sizes of its model are known."""
    job_script: str | None = None
    """What would be submitted to Slurm."""


def plan_document(view: PlanView) -> dict[str, object]:
    """The whole plan as JSON."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run": view.plan.run.name,
        "path": str(view.plan.run.path),
        "problems": list(view.problems),
        "steps": [_step_document(decision, view) for decision in view.decisions],
        **({} if view.job_script is None else {"job_script": view.job_script}),
    }


def plan_text(view: PlanView) -> str:
    """Every step: what will be done about it, what it reads and writes, and its exact commands."""
    lines = [f"run {view.plan.run.name} in {view.plan.run.path}: {len(view.decisions)} steps", ""]
    for number, decision in enumerate(view.decisions, start=1):
        step = decision.step
        lines.append(f"{number:2d}. {step.name} ({step.kind}): {VERBS[decision.action]}{decision.reason}")
        lines += [f"      reads   {_read_text(read, view)}" for read in step.reads]
        lines += [f"      writes  {output}" for output in step.outputs]
        lines += [f"      trains  {view.readings[step.name]}"] if step.name in view.readings else []
        lines += [f"      memory  {view.memories[step.name]}"] if step.name in view.memories else []
        lines += [f"      disk    {view.disks[step.name]}"] if step.name in view.disks else []
        lines += [f"      runs    {shlex.join(command.argv)}" for command in view.commands.get(step.name, ())]
    if view.job_script is not None:
        lines += ["", f"submitted from {view.plan.run.path} as {view.plan.run.job_script.name}:"]
        lines += [f"      {line}" for line in view.job_script.splitlines()]
    if view.problems:
        lines += ["", "about the commands:", *(f"  {problem}" for problem in view.problems)]
    return "\n".join(lines)


def _step_document(decision: Decision, view: PlanView) -> dict[str, object]:
    step = decision.step
    commands = view.commands.get(step.name)
    return {
        "name": step.name,
        "kind": step.kind,
        "stage": step.stage,
        "action": decision.action,
        "reason": decision.reason,
        "fingerprint": step.fingerprint,
        "upstream": list(step.upstream),
        "inputs": [_read_document(read, view) for read in step.reads],
        "outputs": list(step.outputs),
        "folder": step.folder,
        "launched": step.launched,
        "commands": None
        if commands is None
        else [{"argv": list(command.argv), "env": dict(command.env)} for command in commands],
        "reading": view.readings[step.name].to_json() if step.name in view.readings else None,
        "memory": view.memories[step.name].to_json() if step.name in view.memories else None,
        "disk": view.disks[step.name].to_json() if step.name in view.disks else None,
        "config": _config(step),
    }


def _config(step: Step) -> dict[str, object]:
    return step.config.model_dump(mode="json")


def _read_document(read: Read, view: PlanView) -> dict[str, object]:
    files = None if read.step else view.outside.get(read.path)
    return {
        "role": read.role,
        "path": read.path,
        "step": read.step,
        "files": files.count if files else None,
        "bytes": files.size if files else None,
    }


def _read_text(read: Read, view: PlanView) -> str:
    if read.step is not None:
        return f"{read.path} (from {read.step})"
    files = view.outside.get(read.path)
    if files is None or files.count is None or files.size is None:
        return read.path
    return (
        f"{read.path} ({files.count} files, {size(files.size)})" if files.count else f"{read.path} (MISSING)"
    )
