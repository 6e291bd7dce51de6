from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from onerec.config.memory import ModelSizes
from runner.decide import decide
from runner.gpus import Gpu
from runner.history import History
from runner.hosts import Host
from runner.identity import Files
from runner.launch import launch
from runner.manifest import load
from runner.memories import stage_memories
from runner.plan import plan
from runner.plan_report import PlanView, plan_document, plan_text
from runner.rundir import RunDir
from runner.sizes import sizes_of
from tests.runner.golden import assert_golden
from tests.runner.sample import ATTEMPT, TWO_HOSTS

CLUSTER = replace(TWO_HOSTS, hosts=tuple(Host(f"host{number}", 8) for number in range(1, 5)))
H200 = Gpu("NVIDIA H200", 143771 << 20)
QWEN3_1_7B = ModelSizes(
    hidden=2048,
    layers=28,
    heads=16,
    kv_heads=8,
    head_dim=128,
    intermediate=6144,
    rows=176_384,
    tied=True,
)
SIZES = {
    "onerec_0.6b.toml": replace(QWEN3_1_7B, hidden=1024, intermediate=3072),
    "onerec_1.7b.toml": QWEN3_1_7B,
    "onerec_8b.toml": replace(QWEN3_1_7B, hidden=4096, layers=36, heads=32, intermediate=12288, tied=False),
}
"""Of the base models, whose folders are not there."""
SHIPPED = Path(__file__).parents[2] / "manifests"


def fresh_view(name: str) -> PlanView:
    """A shipped manifest's plan on a cluster of four hosts, nothing done yet."""
    manifest = load(SHIPPED / name).manifest
    found = plan(manifest, run=RunDir(Path("/runs") / manifest.name), identities={})
    commands = {
        step.name: launch(step, run=found.run.path, cluster=manifest.cluster, tools=CLUSTER, attempt=ATTEMPT)
        for step in found.steps
    }
    outside = {place: Files(digest="", count=3, size=4_000_000_000) for place in found.outside}
    memories = stage_memories(
        manifest, sizes=SIZES.get(name) or sizes_of(manifest), hosts=CLUSTER.hosts, gpus=[H200] * 8
    )
    return PlanView(found, decide(found, History(), {}), commands, (), outside, memories=memories)


@pytest.mark.parametrize("name", sorted(path.name for path in SHIPPED.glob("*.toml")))
def test_the_plan_of_every_shipped_manifest(name: str) -> None:
    view = fresh_view(name)
    document = json.dumps(plan_document(view), indent=1, ensure_ascii=False)
    assert_golden(f"plan-{Path(name).stem}.json", document + "\n")
    assert_golden(f"plan-{Path(name).stem}.txt", plan_text(view) + "\n")


def test_commands_are_shown_on_request_as_a_shell_would_take_them() -> None:
    view = fresh_view("movielens.toml")
    assert "-m onerec /runs/movielens/base/config.json" in plan_text(view)


def test_what_is_missing_outside_and_what_cannot_be_started_is_told() -> None:
    view = fresh_view("onerec_0.6b.toml")
    place = view.plan.outside[0]
    missing = {**view.outside, place: Files(digest="missing", count=0, size=0)}
    text = plan_text(PlanView(view.plan, view.decisions, {}, ("no hostfile",), missing))
    assert f"{place} (MISSING)" in text
    assert text.endswith("about the commands:\n  no hostfile")
