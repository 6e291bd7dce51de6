"""C17: a step whose trained tokens lie 90 % on one rank and 10 % on the other, against one rank.

Both take the step through session, loader and stepper on gloo, and every gradient is compared whole. For
information: how far off the gradient is when each rank averages over its own tokens and ranks are averaged
then, as the reference does. The model is the tests' tiny Qwen3, in fp32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from tests import tiny
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Figure, Line, Lines, Void, at_most, benchmark
from tests.train.ranks import Case, take_steps

TITLE = "gradient of a 90/10 split of trained tokens over 2 ranks, relative distance to one rank's"
SPLIT = (54, 6)
"""Trained tokens of the two packs."""
UNIT = "ppm"
"""Of the norm of the gradient."""


@benchmark("C17", TITLE, needs_peers=False)
def global_loss(bench: Bench) -> Lines:
    """Distances of gradients; arithmetic repeats itself, so once is enough."""
    folder = bench.kept("c17-tiny", tiny.make)
    splits = {"both": SPLIT, "first": (SPLIT[0], 0), "second": (0, SPLIT[1])}
    cases = [_case(folder, name, trained) for name, trained in splits.items()]
    with tempfile.TemporaryDirectory() as scratch:
        taken = take_steps({1: cases, 2: cases[:1]}, Path(scratch))
    one, two = taken[1]["both"], taken[2]["both"]
    if (two.trained_tokens, two.micro_steps) != (sum(SPLIT), 1):
        raise Void(f"2 ranks trained {two.trained_tokens} tokens in {two.micro_steps} micro-steps")
    first, second = (taken[1][name].gradients for name in ("first", "second"))
    averaged = {name: (tensor + second[name]) / 2 for name, tensor in first.items()}
    note = f"losses are {one.loss:.9f} on one rank and {two.loss:.9f} on two."
    ours = Figure("ours", (_distance(two.gradients, one.gradients),), UNIT)
    yield Line(TITLE, ours, goal=at_most(1, UNIT), note=note)
    other = Figure("averaged per rank", (_distance(averaged, one.gradients),), UNIT)
    yield Line("the same, had each rank averaged over its own tokens", other)


def _case(folder: Path, name: str, trained: tuple[int, int]) -> Case:
    optim, duration = {"max_grad_norm": 0.0}, {"packs_per_step": 2}
    return Case(name, tiny.train_config(folder, folder / name, optim=optim, duration=duration), trained)


def _distance(gradients: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    apart = [gradients[name] - tensor for name, tensor in expected.items()]
    return 1e6 * _norm(apart) / _norm(list(expected.values()))


def _norm(tensors: list[torch.Tensor]) -> float:
    return float(torch.cat([tensor.double().flatten() for tensor in tensors]).norm())
