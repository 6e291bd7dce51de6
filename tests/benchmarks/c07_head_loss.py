"""C7 and C8: LM-head loss and backward pass, 4,096 positions of width 1,024 and 176,384 rows, in fp32.

Against `F.linear` + `F.cross_entropy` and torch 2.13's own `linear_cross_entropy` in its best chunks;
one thread, each repeat in a fresh process. Memory is what the process holds at most beyond the inputs,
less the gradients that it returns. Losses and gradients must agree.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import torch

from tests.benchmarks.environment import Bench, run_script
from tests.benchmarks.harness import (
    HERE,
    Line,
    Lines,
    Run,
    Void,
    at_most,
    benchmark,
    figure,
    in_turn,
)

SHAPE = {"tokens": 4096, "width": 1024, "rows": 176_384}
PART = 0.2
CHUNK = 512
"""Rows of logits that linear_cross_entropy may hold: its fastest of 128 to 1,024 here, by a little."""
PLAIN, EACH, TOTAL = "F.linear + F.cross_entropy", "linear_cross_entropy, none", "linear_cross_entropy, sum"
WHAT = "LM-head loss, 4096 x 1024 x 176,384"
TOLERANCE = 1e-4
"""Relative to the largest value of a result, whose sums are taken in another order."""


@benchmark("C7", WHAT, needs_peers=False)
def head_loss(bench: Bench) -> Lines:
    """Time and memory against plain and fused losses."""
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise Void("this torch has no linear_cross_entropy; the row wants 2.13 or newer")
    shape = {**SHAPE, "trained": 1.0}
    fused = {"kind": "fused", "chunk": CHUNK, "shape": shape}
    runs = in_turn(
        {
            "ours": lambda: bench.ours("head_loss", skips=True, shape=shape),
            PLAIN: lambda: _peer(bench, kind="plain", shape=shape),
            EACH: lambda: _peer(bench, **fused, reduction="none"),
            TOTAL: lambda: _peer(bench, **fused, reduction="sum"),
        },
        repeats=bench.times(3),
    )
    require_close({name: made[0] for name, made in runs.items() if name != TOTAL}, ("losses",))
    require_close({name: made[0] for name, made in runs.items()}, ("hidden", "weight"))
    ours = figure("ours", runs["ours"])
    yield Line(f"{WHAT}: time", ours, figure(PLAIN, runs[PLAIN]), at_most(0.9))
    yield Line(f"{WHAT}: time", ours, figure(EACH, runs[EACH]), at_most(1.0))
    note = (
        "with reduction sum it tells no losses of positions, and needs three matrix products instead of four"
    )
    yield Line(f"{WHAT}: time", ours, figure(TOTAL, runs[TOTAL]), note=note)
    ours = _memory("ours", runs["ours"])
    yield Line(f"{WHAT}: extra memory", ours, _memory(PLAIN, runs[PLAIN]), at_most(1 / 8))
    for name in (EACH, TOTAL):
        yield Line(f"{WHAT}: extra memory", ours, _memory(name, runs[name]))


@benchmark("C8", "LM-head loss, 20 % of tokens trained", needs_peers=False)
def skipping(bench: Bench) -> Lines:
    """Time with the untrained positions left out, against ours over all of them."""
    shape = {**SHAPE, "trained": PART}
    runs = in_turn(
        {
            "ours": lambda: bench.ours("head_loss", skips=True, shape=shape),
            "without skipping": lambda: bench.ours("head_loss", skips=False, shape=shape),
        },
        repeats=bench.times(3),
    )
    masked = _peer(bench, kind="plain", shape=shape)
    require_close({"ours": runs["ours"][0], PLAIN: masked}, ("losses", "hidden", "weight"))
    yield Line(
        "LM-head loss, 20 % of tokens trained: time",
        figure("ours", runs["ours"]),
        figure("without skipping", runs["without skipping"]),
        at_most(0.25),
    )


def _peer(bench: Bench, **given: object) -> Run:
    bench.tell("  peer: head_loss")
    return run_script(sys.executable, HERE / "peers" / "head_loss.py", given)


def _memory(name: str, runs: Sequence[Run]) -> object:
    return figure(name, [{"gb": run["bytes"] / 1e9} for run in runs], key="gb", unit="GB")


def require_close(told: Mapping[str, Run], results: Sequence[str]) -> None:
    """Void the row unless all contenders tell the same samples, each a norm and some values."""
    first, *others = told
    for result in results:
        for other in others:
            expected, got = told[first][result], told[other][result]
            slack = TOLERANCE * max(map(abs, expected[1:]))
            same = [
                math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=slack)
                for a, b in zip(expected, got, strict=True)
            ]
            if not all(same):
                raise Void(f"{result} of {first} and {other} differ")
