"""C10: one layer's attention over 8,192 tokens of documents of about 500, forward and backward, in fp32.

Ours attends to each document by itself. transformers' sdpa path gets packed position_ids, of which it makes a
mask over the whole pack; the mask's making is not timed, since one serves all layers, its memory counts. One
thread, each repeat in a fresh process. Outputs and gradients must agree.
"""

from __future__ import annotations

import sys

import torch

from tests.benchmarks.environment import Bench, run_script
from tests.benchmarks.harness import (
    HERE,
    Line,
    Lines,
    Run,
    Void,
    at_least,
    at_most,
    benchmark,
    figure,
    in_turn,
)

PACK = {"tokens": 8192, "mean": 500}
PEER = "transformers sdpa"
WHAT = "attention over documents, 8192 tokens of ~500-token documents"
TOLERANCE = 1e-4


@benchmark("C10", WHAT, needs_peers=False)
def attention(bench: Bench) -> Lines:
    """Time and memory of one layer."""
    runs = in_turn(
        {"ours": lambda: bench.ours("attention", **PACK), PEER: lambda: _peer(bench)},
        repeats=bench.times(5),
    )
    for result in ("out", "query", "key", "value"):
        ours, peer = (torch.tensor(runs[name][0][result]) for name in ("ours", PEER))
        if not torch.allclose(ours, peer, rtol=TOLERANCE, atol=TOLERANCE * float(peer.abs().max())):
            raise Void(f"{result} of ours and {PEER} differ by {float((ours - peer).abs().max()):.1e}")
    yield Line(f"{WHAT}: time", figure("ours", runs["ours"]), figure(PEER, runs[PEER]), at_least(5))
    ours, peer = (
        figure(name, [{"mb": run["bytes"] / 1e6} for run in runs[name]], key="mb", unit="MB")
        for name in ("ours", PEER)
    )
    yield Line(f"{WHAT}: extra memory", ours, peer, at_most(1 / 5))


def _peer(bench: Bench) -> Run:
    bench.tell("  peer: attention")
    return run_script(sys.executable, HERE / "peers" / "attention.py", PACK)
