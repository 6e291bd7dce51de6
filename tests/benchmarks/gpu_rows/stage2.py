"""G1 and G2: trained tokens/s of stage 2 against the reference's way and TRL, and the share of the peak."""

from __future__ import annotations

from typing import Any

from onerec.train.flops import peak_of, step_flop
from tests.benchmarks.gpu_rows import ours, reference, trl_peer
from tests.benchmarks.gpu_rows.lab import Lab, Turn, need_seconds, seconds_a_token, tokens_a_second
from tests.benchmarks.gpu_rows.registry import row
from tests.benchmarks.harness import Figure, Line, Lines, Void, at_least

SPEED = "stage 2, Qwen3-1.7B, 32k packs, time of a trained token"
SHARE = "MFU of stage 2"
SPEEDS = "speeds of G1"
NO_PEAK = "this device is not in the table of peaks"


@row("G1", SPEED)
def speed(lab: Lab) -> Lines:
    """Ours and the reference's way in turn; TRL by itself where it is installed."""
    mine, theirs = speeds(lab)
    note = ", ".join(
        [
            tokens_a_second("ours", mine),
            tokens_a_second("the reference's way", theirs),
            f"ours recomputes: {lab.checkpointing}",
            f"the reference attends with {reference.attention()}",
        ]
    )
    ratio = seconds_a_token("the reference's way", theirs)
    yield Line(SPEED, seconds_a_token("ours", mine), ratio, at_least(1.6), note=note)
    try:
        trl = trl_peer.seconds_a_token(lab)
    except Void as reason:
        yield Line(f"{SPEED}: not against TRL: {reason}")
    else:
        yield Line(SPEED, seconds_a_token("ours", mine), trl, at_least(1.3))


def speeds(lab: Lab) -> list[list[Turn]]:
    """Turns of ours and of the reference's way with the 1.7B model, measured once."""
    made: list[list[Turn]] = lab.once(SPEEDS, lambda: lab.turns(ours.stage_2(lab), reference.stage_2(lab)))
    return made


@row("G2", SHARE)
def share_of_peak(lab: Lab) -> Lines:
    """FLOP by DESIGN's formula over time and the GPU's dense bf16 peak."""
    mine = lab.once(SPEEDS, lambda: lab.turns(ours.stage_2(lab)))[0]
    lab.keep_only()
    yield _share(lab, "1.7B", mine, goal=48)
    need_seconds(lab, 60)
    lab.keep_only()
    small = ours.stage_2(lab, "0.6B")
    yield _share(lab, "0.6B", lab.turns(small)[0], goal=38)


def _share(lab: Lab, model: str, turns: list[Turn], *, goal: float) -> Line:
    config: Any = lab.sizes.config(model)
    peak = peak_of(lab.gauge.name())
    flops = [
        step_flop(
            config,
            tokens=turn.tokens,
            trained_tokens=turn.trained_tokens,
            squared_lengths=turn.squared_lengths,
        )
        / turn.seconds
        for turn in turns
    ]
    told = f"{SHARE}, {model}"
    if peak is None:
        return Line(told, void=f"{NO_PEAK}: {lab.gauge.name()}; it does {max(flops) / 1e12:.4g} TFLOP/s")
    figure = Figure("ours", tuple(100 * flop / peak for flop in flops), "%")
    return Line(
        told, figure, goal=at_least(goal, "%"), note=f"{told}: {figure.median * peak / 1e14:.0f} TFLOP/s"
    )
