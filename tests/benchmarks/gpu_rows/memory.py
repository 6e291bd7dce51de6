"""G8: memory at the peak of a step when whole layers are recomputed, and whether 4B fits with 32k packs."""

from __future__ import annotations

from tests.benchmarks.gpu_rows import reference
from tests.benchmarks.gpu_rows.lab import Lab, Turn, megabytes, need_seconds
from tests.benchmarks.gpu_rows.ours import Ours
from tests.benchmarks.gpu_rows.registry import row
from tests.benchmarks.harness import Figure, Line, Lines, at_most

TITLE = "memory at the peak, whole layers recomputed"


@row("G8", TITLE)
def memory(lab: Lab) -> Lines:
    """Neither is compiled, which makes it no smaller; each one's weights, moments and gradients count."""
    lab.keep_only("the reference's way")
    mine = lab.built("ours, 1.7B, all recomputed", lambda: _all_recomputed(lab, "1.7B"))
    ours, theirs = lab.turns(mine, reference.stage_2(lab), turns=1, steps=1, warm_up=1)
    yield Line(
        f"{TITLE}, 1.7B",
        megabytes("ours", _peaks(ours)),
        megabytes("the reference's way", _peaks(theirs)),
        at_most(0.7),
    )
    del mine
    lab.keep_only()
    need_seconds(lab, 30)
    large = lab.built("ours, 4B, all recomputed", lambda: _all_recomputed(lab, "4B"))
    [turns] = lab.turns(large, turns=1, steps=1, warm_up=1)
    capacity = lab.gauge.capacity()
    share = Figure("ours", tuple(100 * peak / capacity for peak in _peaks(turns)), "%")
    note = f"4B: {max(_peaks(turns)) / 1e9:.3g} GB of {capacity / 1e9:.3g} GB"
    yield Line(f"{TITLE}, 4B, share of the device", share, goal=at_most(100, "%"), note=note)
    del large
    lab.keep_only()


def _all_recomputed(lab: Lab, model: str) -> Ours:
    return Ours(lab, model, checkpointing="full", compile="off")


def _peaks(turns: list[Turn]) -> list[int]:
    return [turn.peak_bytes for turn in turns]
