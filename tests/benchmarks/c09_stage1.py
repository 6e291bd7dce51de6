"""C9: a step of stage 1 with the real vocabulary and width, against full-table AdamW and PEFT.

The model is a tied Qwen3 of width 1,024 with 176,384 rows and two layers, in fp32; a step is 2 documents of
128 tokens, 83 % of them trained, and 8 documents for information. Ours takes it through FSDP2 and the stepper
on one rank. Peers run transformers' own model and loss on a batch of the documents, with everything but the
embedding frozen: AdamW over the whole table, whose frozen rows are put back after each step (the reference's
way), and PEFT's trainable_token_indices. All must have the same losses and move the rows alike; one thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tests.benchmarks import stage1
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Line, Lines, Run, Void, at_most, benchmark, figure, in_turn

TITLE = "step of stage 1, 176,384 x 1,024 tied rows, 2 layers, 256 tokens"
MORE_TITLE = "the same with 1,024 tokens"
FULL, PEFT = "full AdamW and restoring", "PEFT trainable_token_indices"
CLOSE = 1e-3
"""Relative; Adam divides small gradients by themselves, which are summed in another order."""
NOTE = (
    "of the table's 176,384 rows 24,578 are itemic, and 137 more pad it to a multiple of 256; ours and PEFT "
    "train all 24,715 from the first itemic row on, 14.0 % of the table. Logits and the gradient of hidden "
    "states need every row, so of the head's 3 matrix products 2.14 stay: the more tokens a step has, the "
    "closer the ratio comes to 0.71 times the share of trained tokens."
)


@benchmark("C9", TITLE)
def stage_one(bench: Bench) -> Lines:
    """Seconds of a step and bytes of the optimizer's state."""
    runs = _runs(bench, documents=2, repeats=bench.times(5))
    ours, full = figure("ours", runs["ours"]), figure(FULL, runs[FULL])
    yield Line(TITLE, ours, full, at_most(0.5), note=NOTE)
    yield Line(TITLE, ours, figure(PEFT, runs[PEFT]), at_most(0.6))
    state, full_state = (figure(name, runs[name], key="bytes", unit="B") for name in ("ours", FULL))
    yield Line(f"{TITLE}: bytes of optimizer state", state, full_state, at_most(0.15))
    more = _runs(bench, documents=8, repeats=bench.times(3))
    for peer in (FULL, PEFT):
        yield Line(MORE_TITLE, figure("ours", more["ours"]), figure(peer, more[peer]))


def _runs(bench: Bench, *, documents: int, repeats: int) -> dict[str, list[Run]]:
    """The contenders in turn; raises Void where they did not do the same."""
    given = {"model_dir": bench.kept("c9-model", stage1.make_model), "documents": documents}
    runs = in_turn(
        {
            "ours": lambda: bench.ours("stage1", **given),
            FULL: lambda: bench.peer("stage1", **given, kind="full_table"),
            PEFT: lambda: bench.peer("stage1", **given, kind="peft"),
        },
        repeats=repeats,
    )
    _check(runs)
    return runs


def _check(runs: Mapping[str, Sequence[Run]]) -> None:
    """Void the row where frozen rows changed or a contender did other work."""
    if not all(run["frozen"] for run in runs["ours"]):
        raise Void("frozen rows changed")
    for name, some in runs.items():
        for key in ("losses", "moved"):
            if not _close(some[0][key], runs["ours"][0][key]):
                raise Void(f"{key} differ: {name} {some[0][key][:3]}, ours {runs['ours'][0][key][:3]}")
        if some[0]["moved_rows"] != stage1.ITEMIC_ROWS:
            raise Void(f"{name} moved {some[0]['moved_rows']} rows of {stage1.ITEMIC_ROWS}")


def _close(values: Sequence[float], expected: Sequence[float]) -> bool:
    largest = max(map(abs, expected[1:]))
    pairs = list(zip(values, expected, strict=True))
    return math.isclose(*pairs[0], rel_tol=CLOSE) and all(
        abs(value - other) <= CLOSE * largest for value, other in pairs[1:]
    )
