"""C6: pack 100,000 lengths into packs of 32,768 tokens.

Lengths are those of the corpus in tokens: 40 % of 5 a item, 20 % of 1.3 a word, 40 % of 60 to 900. TRL's
packing is called once for all of them with one-byte tokens, which is the best it can do; `pack_dataset` with
its defaults, on a dataset on disk, is told for information. Every repeat is a fresh process.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.benchmarks.environment import Bench
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
    require_equal,
)
from tests.benchmarks.orders import MAX_LENGTH, SEED

COUNT = 100_000
TRL, DOCUMENTED = "TRL best-fit-decreasing", "TRL pack_dataset, defaults"


@benchmark("C6", "pack 100k lengths to 32k")
def packing(bench: Bench) -> Lines:
    """Time, packs, padding, and that nothing is cut."""
    given = {"lengths": bench.kept("lengths", _write_lengths) / "lengths.npy", "capacity": MAX_LENGTH}
    runs = in_turn(
        {
            "ours": lambda: bench.ours("pack", **given),
            TRL: lambda: bench.peer("trl_pack", **given, documented=False),
            DOCUMENTED: lambda: bench.peer("trl_pack", **given, documented=True),
        },
        repeats=bench.times(5),
    )
    lengths = np.load(given["lengths"])
    require_equal("samples", {name: [run["samples"] for run in made] for name, made in runs.items()})
    for run in runs["ours"]:
        if run["fullest"] > MAX_LENGTH or run["opened"] != run["packs"]:
            raise Void(f"a pack holds {run['fullest']} tokens; {run['opened']} packs, not {run['packs']}")
    yield Line(
        "pack 100k lengths to 32k: time", figure("ours", runs["ours"]), figure(TRL, runs[TRL]), at_least(10)
    )
    ours = figure("ours", runs["ours"], key="packs", unit="packs")
    for name, goal in ((TRL, at_most(1.001)), (DOCUMENTED, None)):
        peer = figure(name, runs[name], key="packs", unit="packs")
        yield Line("pack 100k lengths to 32k: packs", ours, peer, goal)
    padding = [100 * (1 - lengths.sum() / (run["packs"] * MAX_LENGTH)) for run in runs["ours"]]
    yield Line("padding", Figure("ours", tuple(map(float, padding)), "%"), goal=at_most(0.5, "%"))
    cut = Figure("ours", tuple(float(lengths.sum() - run["tokens"]) for run in runs["ours"]), "tokens")
    yield Line("tokens cut", cut, goal=at_most(0, "tokens"))
    yield Line("with the tokens moved", figure("ours", runs["ours"]), figure(DOCUMENTED, runs[DOCUMENTED]))


def _write_lengths(folder: Path) -> None:
    draw = np.random.default_rng(SEED)
    items = np.minimum(draw.lognormal(np.log(90), 0.6, COUNT), 522) * 5 + 12
    words = np.minimum(draw.lognormal(np.log(245), 0.6, COUNT), 4000) * 1.3
    chat = draw.integers(60, 900, COUNT)
    kinds = draw.choice(3, COUNT, p=(0.4, 0.2, 0.4))
    np.save(folder / "lengths.npy", np.choose(kinds, (items, words, chat)).astype(np.int64) + 1)
