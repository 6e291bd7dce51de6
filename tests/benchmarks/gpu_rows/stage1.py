"""G3: stage 1, where only itemic rows train, against training the table and writing frozen rows back."""

from __future__ import annotations

from tests.benchmarks.gpu_rows.lab import Lab, megabytes, seconds_a_token, tokens_a_second
from tests.benchmarks.gpu_rows.ours import STAGE_1, Ours
from tests.benchmarks.gpu_rows.reference import Reference
from tests.benchmarks.gpu_rows.registry import row
from tests.benchmarks.harness import Line, Lines, at_least, at_most

TITLE = "stage 1, Qwen3-1.7B"
PEER = "full-table AdamW and restoring"


@row("G3", TITLE)
def stage_1(lab: Lab) -> Lines:
    """Time of a trained token and memory at the peak; the peer is otherwise the reference's way."""
    lab.keep_only()
    first = lab.sizes.first_itemic_id
    mine = lab.built("ours, stage 1", lambda: Ours(lab, "1.7B", trainable=STAGE_1))
    peer = lab.built(PEER, lambda: Reference(lab, "1.7B", only_rows_from=first))
    ours, theirs = lab.turns(mine, peer)
    note = f"{TITLE}: {tokens_a_second('ours', ours)}, {tokens_a_second(PEER, theirs)}"
    yield Line(
        f"{TITLE}, time of a trained token",
        seconds_a_token("ours", ours),
        seconds_a_token(PEER, theirs),
        at_least(1.8),
        note=note,
    )
    yield Line(
        f"{TITLE}, memory at the peak",
        megabytes("ours", [turn.peak_bytes for turn in ours]),
        megabytes(PEER, [turn.peak_bytes for turn in theirs]),
        at_most(0.6),
    )
