"""A manifest to a plan, with all that has to be looked up for it: files outside the run, and tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.decide import decide
from runner.execute import find_facts
from runner.history import fold
from runner.identity import Files, identify
from runner.journal import read
from runner.launch import Attempt, launch
from runner.plan import plan
from runner.plan_report import PlanView
from runner.rundir import RunDir
from runner.toolchain import find_toolchain, read_hosts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.history import History
    from runner.hosts import Host
    from runner.launch import Command
    from runner.manifest.tables import Cluster, Manifest
    from runner.steps import Plan


@dataclass(frozen=True)
class Composed:
    """A plan and what was looked up for it."""

    plan: Plan
    outside: Mapping[str, Files]


def run_of(manifest: Manifest) -> RunDir:
    """The run directory of a manifest: below the folder that the runner is started in."""
    return RunDir((Path.cwd() / manifest.output_dir / manifest.name).resolve())


def compose(manifest: Manifest, run: RunDir) -> Composed:
    """The plan of a manifest, its outside inputs identified as they are now."""
    places = plan(manifest, run=run, identities={}).outside
    outside = {place: identify(place) for place in places}
    identities = {place: files.digest for place, files in outside.items()}
    return Composed(plan(manifest, run=run, identities=identities), outside)


def view(manifest: Manifest, *, env: Mapping[str, str]) -> PlanView:
    """The plan of a manifest as it would be carried out now, with the commands of the next attempts."""
    composed = compose(manifest, run_of(manifest))
    history = fold(read(composed.plan.run.events))
    decisions = decide(composed.plan, history, find_facts(composed.plan, history))
    commands, problems = _commands(composed.plan, manifest.cluster, history=history, env=env)
    return PlanView(composed.plan, decisions, commands, problems, composed.outside)


def _commands(
    plan: Plan, cluster: Cluster, *, history: History, env: Mapping[str, str]
) -> tuple[dict[str, tuple[Command, ...]], tuple[str, ...]]:
    """The commands of each step, and why those of some cannot be told, or are told without the hosts."""
    problems: dict[str, None] = {}
    commands = {}
    hosts: tuple[Host, ...] = ()
    try:
        hosts = read_hosts(cluster)
    except ConfigError as fault:
        problems[str(fault)] = None
    tools = find_toolchain(cluster, hosts=hosts, env=env)
    for step in plan.steps:
        attempt = _next_attempt(step.stage, history.step(step.name).attempts + 1)
        try:
            commands[step.name] = launch(
                step, run=plan.run.path, cluster=cluster, tools=tools, attempt=attempt
            )
        except ConfigError as fault:
            problems[str(fault)] = None
    return commands, tuple(problems)


def _next_attempt(stage: str, number: int) -> Attempt:
    """An attempt to show: the nonce and port of a real one are chosen when it starts."""
    return Attempt(number=number, nonce=f"{stage}-{number}", port=29400)
