"""C12: how long a checkpoint of 1.5 GB keeps training from going on, against synchronous DCP.

The state is 127 million fp32 weights of linear layers with both moments of AdamW, trained on one thread; the
steps and the moments of saving are the same for all. Ours saves as a stage does (copied at once, written,
flushed, digested and committed by a thread); the peer calls dcp.save, flushed too. The stall is the time that
a call keeps the loop from its next step; each contender saves three times. For information: by how much all
steps with saves take longer than the same steps without, the last save's end included, on a machine whose two
cores also have to write.
"""

from __future__ import annotations

import sys
import tempfile

from tests.benchmarks.environment import Bench, cache_folder, run_script
from tests.benchmarks.harness import (
    HERE,
    Figure,
    Line,
    Lines,
    Run,
    at_most,
    benchmark,
    in_turn,
    require_equal,
)

TITLE = "checkpoint of 1.5 GB during training"
PEER = "synchronous DCP"


@benchmark("C12", TITLE, needs_peers=False)
def save(bench: Bench) -> Lines:
    """Seconds of each stall, and of all that saving costs."""

    def run(kind: str) -> Run:
        bench.tell(f"  {kind}")
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            return run_script(sys.executable, HERE / "ours" / "save.py", {"kind": kind, "folder": folder})

    runs = in_turn(
        {kind: lambda kind=kind: run(kind) for kind in ("ours", PEER, "none")}, repeats=bench.times(3)
    )
    require_equal(
        "sums of the weights after all steps", {name: some[0]["sum"] for name, some in runs.items()}
    )
    ours, peer = (
        Figure(name, tuple(stall for one in runs[name] for stall in one["stalls"])) for name in ("ours", PEER)
    )
    size = runs["ours"][0]["bytes"] / 1e9
    yield Line(
        f"{TITLE}: stall", ours, peer, at_most(0.15), note=f"C12: {size:.2f} GB, 3 saves in each repeat"
    )
    none = Figure("none", tuple(one["seconds"] for one in runs["none"])).median
    costs = [
        Figure(name, tuple(max(one["seconds"] - none, 0.0) / 3 for one in runs[name]))
        for name in ("ours", PEER)
    ]
    yield Line(f"{TITLE}: all that a save costs, writing beside the steps included", *costs)
