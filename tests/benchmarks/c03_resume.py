"""C3 and C4: resume at 1 %, 50 % and 90 % of one million samples, and what the state weighs.

The samples are histories of 4 to 19 items in 1,000 parquet files, some 1,900 packs. Every repeat is a fresh
process; seconds begin after its imports and end with the first batch. States come from loaders that stood
there, and every resumed batch must be the one that came next there; that ours are those of an uninterrupted
read is C5's part.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.benchmarks import materials
from tests.benchmarks.environment import Bench, peer_environment
from tests.benchmarks.harness import (
    Figure,
    Line,
    Lines,
    Void,
    at_least,
    at_most,
    benchmark,
    figure,
    in_turn,
)

POSITIONS = ("0.01", "0.5", "0.9")
STATEFUL, HF = "StatefulDataLoader", "HF IterableDataset"
SCRIPTS = {STATEFUL: "stateful_resume", HF: "hf_resume"}
STEP_SECONDS = 0.3
"""A step of 32k tokens of Qwen3-0.6B on one H200 at 40 % of its peak: the shortest step anybody will see."""


@dataclass(frozen=True)
class Noted:
    """States of all contenders at all positions, on disk."""

    bench: Bench

    @cached_property
    def given(self) -> dict[str, Any]:
        """What every script is told."""
        corpus = materials.short_corpus(self.bench)
        return {
            "store": materials.short_store(self.bench),
            "files": [str(path) for path in sorted(corpus.glob("*.parquet"))],
            "tokenizer": materials.tokenizer(self.bench),
            "max_length": materials.MAX_LENGTH,
        }

    @cached_property
    def ours(self) -> dict[str, Any]:
        """How our states were taken; made anew for every run, so that they are of the code as it is."""
        path = Path(self.given["store"]).with_name("ours-states.json")
        told = self.bench.ours("resume", **self.given, positions=[float(p) for p in POSITIONS], states=path)
        return {**told, "states": path}

    def peer(self, name: str) -> dict[str, Any]:
        """How a peer's states were taken: once for its versions, since it reads all samples for them."""
        units = self.ours["packs"] if name == STATEFUL else materials.MILLION
        positions = {position: round(float(position) * units) for position in POSITIONS}
        folder = self.bench.kept(
            f"{SCRIPTS[name]}-{peer_environment().folder.name}",
            lambda made: (made / "told.json").write_text(
                json.dumps(
                    self.bench.peer(SCRIPTS[name], **self.given, positions=positions, states=made / "states")
                )
            ),
        )
        return {**json.loads((folder / "told.json").read_text()), "states": folder / "states"}


@benchmark("C3", "resume within 1M samples: time to first batch")
def resume(bench: Bench) -> Lines:
    """Ours at all three positions, peers in the middle and late, where resuming is what costs."""
    noted = Noted(bench)
    runs = in_turn(_contenders(bench, noted), repeats=bench.times(3))
    for name, made in runs.items():
        _check(name, made)
    ours = {position: figure("ours", runs[f"ours {position}"]) for position in POSITIONS}
    for position in POSITIONS:
        yield Line(f"resume at {float(position):.0%} of 1M samples", ours[position], goal=at_most(1, "s"))
    first = Figure("at 1 %", ours["0.01"].values)
    yield Line("resume at 90 % against 1 %", ours["0.9"], first, at_most(1.2))
    yield Line("resume at 90 %, fork server started too", figure("ours", runs["ours cold"]))
    for name, bound in ((STATEFUL, 100), (HF, 10)):
        peer = figure(name, runs[f"{name} 0.5"])
        yield Line("resume at 50 % of 1M samples", ours["0.5"], peer)
        peer = figure(name, runs[f"{name} 0.9"])
        yield Line("resume at 90 % of 1M samples", ours["0.9"], peer, at_least(bound))


def _contenders(bench: Bench, noted: Noted) -> dict[str, Any]:
    def ours(position: str, *, cold: bool = False) -> Any:
        given = {**noted.given, "states": noted.ours["states"], "position": position, "cold": cold}
        return lambda: bench.ours("resume", **given)

    def peer(name: str, position: str) -> Any:
        given = {**noted.given, "states": noted.peer(name)["states"], "position": position}
        return lambda: bench.peer(SCRIPTS[name], **given)

    contenders = {f"ours {position}": ours(position) for position in POSITIONS}
    contenders["ours cold"] = ours("0.9", cold=True)
    return contenders | {f"{name} {at}": peer(name, at) for name in SCRIPTS for at in POSITIONS[1:]}


def _check(name: str, runs: list[Any]) -> None:
    for run in runs:
        if run["ids"] != run["wanted"]:
            raise Void(f"{name}: the first batch after the resume is not the one that came next")


@benchmark("C4", "loader state after 1M samples")
def state(bench: Bench) -> Lines:
    """Bytes at the start and at the end, and the share of a step that taking the state costs."""
    noted = Noted(bench)
    early = _bytes_of_state(Path(noted.ours["states"]), "0.01")
    late = _bytes_of_state(Path(noted.ours["states"]), "0.9")
    end = Figure("ours", (noted.ours["bytes_at_end"],), "bytes")
    yield Line("state after 1M samples", end, goal=at_most(4096, "bytes"))
    # positions have more digits late: a few bytes are no growth
    growth = Figure("ours", (max(0, late - early - 8, end.median - early - 8),), "bytes")
    yield Line("growth of the state from 1 % to the end, beyond digits", growth, goal=at_most(0, "bytes"))
    share = Figure("ours", (100 * noted.ours["state_seconds"] / STEP_SECONDS,), "%")
    yield Line(f"state_dict() in a step of {STEP_SECONDS} s", share, goal=at_most(1, "%"))
    for name in SCRIPTS:
        told = noted.peer(name)
        yield Line("state after 900k samples", end, Figure(name, (told["bytes"],), "bytes"))
        seconds = Figure("ours", (noted.ours["state_seconds"],))
        yield Line("taking and serialising the state", seconds, Figure(name, (told["state_seconds"],)))


def _bytes_of_state(states: Path, position: str) -> int:
    return len(json.dumps(json.loads(states.read_text())[position]["state"]))
