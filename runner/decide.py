"""What is to be done about each step of a plan, given how the run stands; and the words for a drift. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from runner.fingerprint import differences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.history import History, StepHistory
    from runner.steps import Plan, Step

Action = Literal["skip", "start", "continue", "drift"]
Difference = tuple[str, object, object]


@dataclass(frozen=True)
class Facts:
    """What is on the disk for one step."""

    result: bool = False
    """Whether the newest attempt left its result.json."""
    missing: tuple[str, ...] = ()
    """Outputs that are not there."""
    changed: tuple[str, ...] = ()
    """Outputs that are not as they were made, in words."""
    checkpoints: tuple[int, ...] = ()
    """Steps that have a complete checkpoint."""


@dataclass(frozen=True)
class Decision:
    """What is to be done about one step, and why."""

    step: Step
    action: Action
    reason: str
    set_aside: bool = False
    """Whether what stands in the step's folder is first moved away."""
    differences: tuple[Difference, ...] = ()


def decide(
    plan: Plan, history: History, facts: Mapping[str, Facts], *, rerun: Iterable[str] = ()
) -> tuple[Decision, ...]:
    """One decision per step, in order; the steps named by `rerun`, and all after them, start afresh.

    Raises ConfigError for a name in `rerun` that is no step.
    """
    afresh = _afresh(plan, history, rerun=[plan.step(name).name for name in rerun])
    decisions = []
    for step in plan.steps:
        told = history.step(step.name)
        if step.name in afresh and told.state != "pending":
            decisions.append(Decision(step, "start", "to be run again", set_aside=True))
        else:
            decisions.append(_decide(step, told, facts.get(step.name, Facts())))
    return tuple(decisions)


def invalidated(decisions: Sequence[Decision], history: History) -> list[str]:
    """Steps whose earlier outcome no longer counts and is not yet marked so."""
    return [
        decision.step.name
        for decision in decisions
        if decision.set_aside and history.step(decision.step.name).state != "stale"
    ]


def drift_message(decisions: Sequence[Decision], *, run: str, changes: Sequence[str] = ()) -> str | None:
    """What changed, key by key, and the ways out; None when nothing drifted.

    `changes` are lines about the keys of the manifest, told where there are some.
    """
    drifted = [decision for decision in decisions if decision.action == "drift"]
    if not drifted:
        return None
    roots = [decision for decision in drifted if _own(decision)] or drifted[:1]
    lines = [f"{run} was made with other settings than the manifest has now; nothing was started"]
    for decision in roots:
        lines.append(f"  {decision.step.name}:")
        lines += [
            f"    {key}: {_shown(old)} -> {_shown(new)}"
            for key, old, new in _own(decision) or decision.differences
        ]
    others = [decision.step.name for decision in drifted if decision not in roots]
    if others:
        lines.append(f"  made from that: {', '.join(others)}")
    if changes:
        lines += ["  in the manifest:", *(f"    {line}" for line in changes)]
    flags = " ".join(f"--rerun {decision.step.name}" for decision in roots)
    lines.append(f"ways out: {flags} (runs it and all that follows again; what is there now is kept aside),")
    lines.append("or give the manifest another name, or put the old values back")
    return "\n".join(lines)


def _afresh(plan: Plan, history: History, *, rerun: list[str]) -> set[str]:
    """The steps to run again: those named, the datasets prepared for them that drifted, and all after."""
    prepared = [
        step.name
        for step in plan.steps
        if step.kind == "prepare"
        and step.stage in rerun
        and history.step(step.name).fingerprint not in {None, step.fingerprint}
    ]
    return set(plan.downstream([*rerun, *prepared]))


def _decide(step: Step, told: StepHistory, facts: Facts) -> Decision:
    if told.state == "stale":
        return Decision(step, "start", told.reason or "to be run again", set_aside=True)
    if told.state == "pending":
        return Decision(step, "start", "not yet run")
    if told.fingerprint != step.fingerprint and (told.state == "done" or facts.checkpoints):
        changed = tuple(differences(told.ingredients, step.ingredients))
        return Decision(step, "drift", "its settings or inputs changed", differences=changed)
    if told.state == "done" and facts.result and not facts.missing and not facts.changed:
        return Decision(step, "skip", "done")
    reason = _why_again(told, facts)
    if facts.checkpoints:
        return Decision(step, "continue", f"{reason}; goes on from step {facts.checkpoints[-1]}")
    return Decision(step, "start", reason)


def _why_again(told: StepHistory, facts: Facts) -> str:
    if told.state != "done":
        return f"attempt {told.attempts} {'failed' if told.state == 'failed' else 'was interrupted'}"
    if facts.missing:
        return f"{facts.missing[0]} is gone"
    return facts.changed[0] if facts.changed else "its result.json is gone"


def _own(decision: Decision) -> list[Difference]:
    """The differences that are the step's own, not those of a step before it."""
    return [
        (key, old, new)
        for key, old, new in decision.differences
        if not key.startswith("reads.") or _origin(old) != _origin(new) or "@" not in str(old)
    ]


def _origin(value: object) -> str:
    """Which output of which step an input is."""
    return str(value).rpartition("@")[0]


def _shown(value: object) -> str:
    return "(not given)" if value is None else str(value)
