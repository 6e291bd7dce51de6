"""G4: the LM-head loss over a whole pack, forward and backward, against full logits in fp32 chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch

from onerec.config import Compute
from onerec.model.shard import compute_dtype
from onerec.train.loss import head_loss
from tests.benchmarks.gpu_rows.lab import Lab, megabytes
from tests.benchmarks.gpu_rows.reference import FullLogits
from tests.benchmarks.gpu_rows.registry import row
from tests.benchmarks.harness import Figure, Line, Lines, Void, at_least, at_most

TITLE = "LM-head loss, forward and backward, every token of a pack trained"
PEER = "fp32 logits, 16,384 rows at a time"
REPEATS = 7
TOLERANCE = 2e-2
"""Of gradients in bf16, as a share of their norm."""

Gradients = tuple[torch.Tensor, torch.Tensor]


@row("G4", TITLE)
def head(lab: Lab) -> Lines:
    """Time, and memory at the peak without inputs and gradients."""
    lab.keep_only()
    contenders = _contenders(lab)
    _require_close(*(act() for act in contenders.values()))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    extra: dict[str, list[int]] = {name: [] for name in contenders}
    for act in contenders.values():
        act()
    for _ in range(REPEATS):
        for name, act in contenders.items():
            seconds[name].append(lab.gauge.seconds(act))
    for name, act in contenders.items():
        lab.gauge.release()
        extra[name] = [lab.gauge.extra(act) for _ in range(2)]
    ours, theirs = (Figure(name, tuple(values)) for name, values in seconds.items())
    yield Line(f"{TITLE}: time", ours, theirs, at_least(1.0))
    returned = sum(gradient.nbytes for gradient in contenders["ours"]())
    lean = [max(1, amount - returned) for amount in extra["ours"]]
    peer = [max(1, amount - returned) for amount in extra[PEER]]
    note = f"memory of G4: with the gradients that come out {max(extra['ours']) / 1e9:.3g} GB"
    yield Line(
        f"{TITLE}: memory besides inputs and gradients",
        megabytes("ours", lean),
        goal=at_most(1500, "MB"),
        note=note,
    )
    yield Line(f"{TITLE}: the same", megabytes("ours", lean), megabytes(PEER, peer))


def _contenders(lab: Lab) -> dict[str, Callable[[], Gradients]]:
    sizes, device = lab.sizes, lab.device
    width, tokens = sizes.models["1.7B"].hidden, sizes.max_length
    dtype = compute_dtype(Compute(), device)
    torch.manual_seed(1)
    hidden_TD = torch.randn(tokens, width, device=device, dtype=dtype).requires_grad_()
    weight_VD = (torch.randn(sizes.rows, width, device=device) * 0.02).to(dtype).requires_grad_()
    labels_T = torch.randint(0, sizes.rows, (tokens,), device=device)

    def ours() -> Gradients:
        loss, _ = head_loss(hidden_TD, weight_VD, labels_T, minibatch_size=sizes.chunk, scale=1 / tokens)
        return _gradients(loss)

    def theirs() -> Gradients:
        return _gradients(FullLogits.apply(hidden_TD, weight_VD, labels_T, sizes.chunk, 1 / tokens))

    def _gradients(loss: torch.Tensor) -> Gradients:
        hidden, weight = torch.autograd.grad(loss, (hidden_TD, weight_VD))
        return hidden, weight

    return {"ours": ours, PEER: theirs}


def _require_close(ours: Gradients, theirs: Gradients) -> None:
    """Void the row unless both give the same gradients, to the rounding of the compute dtype."""
    for what, mine, other in zip(("hidden states", "weights"), ours, theirs, strict=True):
        error = float((mine.float() - other.float()).norm() / other.float().norm())
        if not error < TOLERANCE:  # NaN too
            raise Void(f"gradients of {what} differ by {error:.2g} of their norm")
