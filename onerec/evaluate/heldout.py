"""Loss of held-out answers under a model, in nats per answer and per token.

Only the tokens that training would have trained count: what the assistant says, up to the end of its turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from onerec.data.source.read import rows
from onerec.data.source.validate import Row, RowError
from onerec.data.text.render import Rendered, Renderer
from onerec.errors import DataError
from onerec.train.loss import PackedLanguageModel

TOKENS_PER_BATCH = 8192


@dataclass(frozen=True)
class HeldoutLoss:
    """Sums over all held-out answers."""

    answers: int
    tokens: int
    nats: float

    @property
    def per_answer(self) -> float:
        """Nats per whole answer: minus the log of the probability that the model gives to it."""
        return self.nats / self.answers

    @property
    def per_token(self) -> float:
        """Nats per trained token."""
        return self.nats / self.tokens


@torch.no_grad()
def heldout_loss(lm: nn.Module, renderer: Renderer, folder: Path) -> HeldoutLoss:
    """Loss of the answers of the chat rows in a parquet folder; `lm` attends over documents.

    Raises DataError for a folder without rows.
    """
    model = PackedLanguageModel(lm, minibatch_size=1024)
    answers = tokens = 0
    nats = 0.0
    for batch in _batches(_rendered(renderer, row) for row in rows(str(folder))):
        losses_N = _losses(model, batch)
        answers += len(batch)
        tokens += len(losses_N)
        nats += float(losses_N.double().sum())
    if answers == 0:
        raise DataError(f"{folder} holds no rows to evaluate; give a folder with chat rows")
    return HeldoutLoss(answers, tokens, nats)


def _rendered(renderer: Renderer, row: Row) -> Rendered:
    try:
        return renderer.render(row)
    except RowError as fault:
        raise DataError(f"{row.file}, row {row.row}: {fault}; held-out rows need an answer") from fault


def _losses(model: PackedLanguageModel, batch: list[Rendered]) -> torch.Tensor:
    lengths = [len(sample.input_ids) for sample in batch]
    borders = torch.tensor([0, *lengths]).cumsum(0)
    ids_T = torch.tensor([token for sample in batch for token in sample.input_ids.tolist()])
    # a position predicts the next token, so a trained span is read one position earlier
    trained = [
        position
        for start, sample in zip(borders.tolist(), batch, strict=False)
        for begin, end in sample.spans
        for position in range(start + begin - 1, start + end - 1)
    ]
    trained_N = torch.tensor(trained)
    result = model(
        ids_T,
        position_ids_T=torch.cat([torch.arange(length) for length in lengths]),
        cu_seqlens=borders.to(torch.int32),
        max_seqlen=max(lengths),
        trained_N=trained_N,
        labels_N=ids_T[trained_N + 1],
        scale=1.0,
    )
    losses_N: torch.Tensor = result.losses_N
    return losses_N


def _batches(samples: Iterator[Rendered]) -> Iterator[list[Rendered]]:
    batch: list[Rendered] = []
    size = 0
    for sample in samples:
        if batch and size + len(sample.input_ids) > TOKENS_PER_BATCH:
            yield batch
            batch, size = [], 0
        batch.append(sample)
        size += len(sample.input_ids)
    if batch:
        yield batch
