"""A manifest to a plan, with all that has to be looked up for it: files outside the run, and tools."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.config import TrainConfig
from onerec.errors import ConfigError
from runner.decide import decide
from runner.disk import disks_of
from runner.execute import find_facts
from runner.history import fold
from runner.identity import Files, identify
from runner.journal import read
from runner.launch import launch
from runner.launch.ranks import world_size
from runner.launch.values import Attempt
from runner.manifest import dump
from runner.memories import memories_of
from runner.observe import read_document
from runner.plan import plan
from runner.plan_report import PlanView
from runner.reading import reading_of
from runner.request import Request
from runner.rundir import RunDir, StepDir
from runner.sizes import sizes_of
from runner.slurm.script import job_script
from runner.slurm.submit import is_submitted
from runner.toolchain import find_toolchain, read_hosts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.decide import Decision
    from runner.history import History
    from runner.hosts import Host
    from runner.launch.values import Command, Toolchain
    from runner.manifest.tables import Cluster, Manifest
    from runner.reading import Reading
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
    problems: dict[str, None] = {}
    hosts: tuple[Host, ...] = ()
    try:
        hosts = read_hosts(manifest.cluster)
    except ConfigError as fault:
        problems[str(fault)] = None
    tools = find_toolchain(manifest.cluster, hosts=hosts, env=env)
    commands = _commands(composed.plan, manifest.cluster, history=history, tools=tools, problems=problems)
    readings = _readings(decisions, manifest.cluster, tools=tools)
    return PlanView(
        composed.plan,
        decisions,
        commands,
        tuple(problems),
        composed.outside,
        readings,
        memories_of(manifest, env=env),
        disks_of(manifest, sizes_of(manifest)),
        job_script(manifest.cluster, run=composed.plan.run, tools=tools)
        if is_submitted(manifest.cluster, env)
        else None,
    )


def request_of(
    manifest: Manifest,
    run: RunDir,
    *,
    text: bytes,
    manifest_dir: str,
    overrides: tuple[str, ...],
    rerun: tuple[str, ...],
    env: Mapping[str, str],
    left_out: frozenset[str] = frozenset(),
) -> Request:
    """What a person asked for, with the plan and tools as they are now; `text` is the manifest as given.

    `left_out` are hosts of an elastic run that are not well.
    """
    hosts = tuple(host for host in read_hosts(manifest.cluster) if host.name not in left_out)
    return Request(
        plan=compose(manifest, run).plan,
        cluster=manifest.cluster,
        tools=find_toolchain(manifest.cluster, hosts=hosts, env=env),
        manifest_text=text,
        resolved_text=dump(manifest),
        manifest_dir=manifest_dir,
        overrides=overrides,
        rerun=rerun,
        env=dict(env),
    )


def _commands(
    plan: Plan, cluster: Cluster, *, history: History, tools: Toolchain, problems: dict[str, None]
) -> dict[str, tuple[Command, ...]]:
    """The commands of each step; why those of some cannot be told is added to `problems`."""
    commands = {}
    for step in plan.steps:
        attempt = _next_attempt(step.stage, history.step(step.name).attempts + 1)
        try:
            commands[step.name] = launch(
                step, run=plan.run.path, cluster=cluster, tools=tools, attempt=attempt
            )
        except ConfigError as fault:
            problems[str(fault)] = None
    return commands


def _next_attempt(stage: str, number: int) -> Attempt:
    """An attempt to show: the nonce and port of a real one are chosen when it starts."""
    return Attempt(number=number, nonce=f"{stage}-{number}", port=29400)


def _readings(decisions: Sequence[Decision], cluster: Cluster, *, tools: Toolchain) -> dict[str, Reading]:
    """How much each training step reads, as far as the run directory tells."""
    readings = {}
    for decision in decisions:
        step = decision.step
        if isinstance(step.config, TrainConfig):
            summaries = [
                read_document(StepDir(Path(dataset.store_dir)).summary)
                for dataset in step.config.data.datasets
            ]
            account = read_document(StepDir(Path(step.folder)).data_record)
            ranks = world_size(step, cluster=cluster, tools=tools)
            found = reading_of(
                step.config, action=decision.action, account=account, summaries=summaries, ranks=ranks
            )
            if found is not None:
                readings[step.name] = found
    return readings
