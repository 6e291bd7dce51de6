"""SASRec: a small causal transformer over items that are one token each.

After Kang and McAuley (ICDM 2018), but stronger: the loss is a softmax over the catalogue instead of one
random negative for each positive (as Klenitskiy and Vasilev, RecSys 2023, found best). Training stops by NDCG
on the validation targets. The same seed and data give the same bits on the same machine.

Shapes: B windows, L places of a window, D width, T trained places, N items, M sampled items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from onerec.evaluate.baselines.baseline import Float32, Quality, Questions, quality
from onerec.evaluate.histories import Histories, Int32

FULL_SOFTMAX_ITEMS = 50_000
"""Catalogues above this are trained with sampled items instead of all of them."""
SAMPLED_ITEMS = 8192
SCORED_AT_A_TIME = 64
THREADED_ITEMS = 10_000
"""Below so many items one thread is as fast as many, faster beside other programs, and always the same."""


@dataclass(frozen=True)
class SASRecSettings:
    """Tuned on the validation targets of MovieLens-100K."""

    width: int = 64
    layers: int = 2
    heads: int = 2
    window: int = 50
    """Most items that are looked back at."""
    dropout: float = 0.3
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 32
    max_epochs: int = 60
    patience: int = 8
    """Epochs without a better NDCG after which training ends."""
    epochs_unvalidated: int = 20
    """Epochs where there are no validation targets."""


class _Block(nn.Module):
    def __init__(self, settings: SASRecSettings) -> None:
        super().__init__()
        self.heads, self.dropout = settings.heads, settings.dropout
        self.attention_norm = nn.LayerNorm(settings.width)
        self.to_qkv = nn.Linear(settings.width, 3 * settings.width)
        self.from_heads = nn.Linear(settings.width, settings.width)
        self.network_norm = nn.LayerNorm(settings.width)
        self.network = nn.Sequential(
            nn.Linear(settings.width, 4 * settings.width),
            nn.GELU(),
            nn.Dropout(settings.dropout),
            nn.Linear(4 * settings.width, settings.width),
        )
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        hidden_BLD = hidden_BLD + self.drop(self.from_heads(self._attend(self.attention_norm(hidden_BLD))))
        return hidden_BLD + self.drop(self.network(self.network_norm(hidden_BLD)))

    def _attend(self, normed_BLD: Tensor) -> Tensor:
        batch, length, width = normed_BLD.shape
        qkv = self.to_qkv(normed_BLD).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return mixed.transpose(1, 2).reshape(batch, length, width)


class _Network(nn.Module):
    """Items before each place to the hidden state there; items and output share one table."""

    def __init__(self, num_items: int, settings: SASRecSettings) -> None:
        super().__init__()
        self.items_ND = nn.Parameter(torch.randn(num_items, settings.width) * 0.02)
        self.places_LD = nn.Parameter(torch.randn(settings.window, settings.width) * 0.02)
        self.drop = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(_Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width)

    def forward(self, items_BL: Tensor) -> Tensor:
        """Hidden states, (B, L, D); what stands after the end of a shorter window changes nothing before."""
        embedded_BLD = functional.embedding(items_BL, self.items_ND) * math.sqrt(self.items_ND.shape[1])
        hidden_BLD = self.drop(embedded_BLD + self.places_LD[: items_BL.shape[1]])
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD)
        normed_BLD: Tensor = self.norm(hidden_BLD)
        return normed_BLD


@dataclass(frozen=True)
class SASRec:
    """A trained network."""

    network: _Network
    window: int
    told: tuple[str, ...] = ()

    @torch.no_grad()
    def scores(self, histories: Sequence[Int32]) -> Float32:
        """Logits of every item after each history, (B, N); the same for all where a history is empty: 0."""
        self.network.eval()
        scores_BN = np.zeros((len(histories), len(self.network.items_ND)), dtype=np.float32)
        # one length at a time, so that no sum depends on what else is asked
        by_length: dict[int, list[int]] = {}
        for place, history in enumerate(histories):
            by_length.setdefault(min(len(history), self.window), []).append(place)
        for length, places in by_length.items():
            for part in _parts(places, SCORED_AT_A_TIME) if length else ():
                items_BL = torch.tensor(np.stack([histories[place][-length:] for place in part])).long()
                last_BD = self.network(items_BL)[:, -1]
                scores_BN[part] = (last_BD @ self.network.items_ND.T).numpy()
        return scores_BN


@dataclass
class _Course:
    """How training went so far."""

    best: Quality = field(default_factory=lambda: Quality(-1.0, -1.0))
    best_epoch: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    ended: str = ""


def fit_sasrec(
    histories: Histories,
    *,
    seed: int,
    exclude_history: bool = True,
    time_cap_seconds: float = 600.0,
    settings: SASRecSettings | None = None,
) -> SASRec:
    """Train on the training part; `told` says how long, and whether the cap or the most epochs ended it."""
    settings = settings or SASRecSettings()
    questions = Questions.of_validation(histories, seed=seed, exclude_history=exclude_history)
    with torch.random.fork_rng(devices=[]), _threads_for(histories.num_items):
        torch.manual_seed(seed)
        network = _Network(histories.num_items, settings)
        course = _train(network, histories, questions, settings, seed=seed, time_cap_seconds=time_cap_seconds)
    network.load_state_dict(course.best_state)
    return SASRec(network, settings.window, (_told(course, questions),))


@contextmanager
def _threads_for(num_items: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if num_items < THREADED_ITEMS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    network: _Network,
    histories: Histories,
    questions: Questions,
    settings: SASRecSettings,
    *,
    seed: int,
    time_cap_seconds: float,
) -> _Course:
    rng, course, began = np.random.default_rng(seed), _Course(), time.monotonic()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    epochs = settings.max_epochs if len(questions) else settings.epochs_unvalidated
    for epoch in range(1, epochs + 1):
        _train_epoch(network, histories, settings, optimizer, rng=rng)
        course.seconds = time.monotonic() - began
        _judge(course, network, questions, settings, epoch=epoch)
        if course.ended:
            return course
        if course.seconds > time_cap_seconds:
            course.ended = f"the time cap of {time_cap_seconds:.0f} s ended training, which may be too early"
            return course
    course.ended = f"the most epochs ({epochs}) were reached"
    return course


def _train_epoch(
    network: _Network,
    histories: Histories,
    settings: SASRecSettings,
    optimizer: torch.optim.Optimizer,
    *,
    rng: np.random.Generator,
) -> None:
    network.train()
    for items_BL, targets_BL in _batches(histories, settings, rng=rng):
        is_trained_BL = targets_BL >= 0
        hidden_TD = network(items_BL)[is_trained_BL]
        loss = _loss(hidden_TD, network.items_ND, targets_BL[is_trained_BL])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _judge(
    course: _Course, network: _Network, questions: Questions, settings: SASRecSettings, *, epoch: int
) -> None:
    found = quality(SASRec(network, settings.window), questions)
    if found.ndcg > course.best.ndcg or not len(questions):
        course.best, course.best_epoch = found, epoch
        course.best_state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    elif epoch - course.best_epoch >= settings.patience:
        course.ended = f"{settings.patience} epochs were no better"


def _batches(
    histories: Histories, settings: SASRecSettings, *, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Items and the item after each, (B, L) both; the end of a shorter window is 0 and -1.

    Histories are cut into windows anew every epoch; every event but a user's first is a target once.
    """
    windows = _windows(histories, settings.window, rng=rng)
    for part in _parts(rng.permutation(len(windows)).tolist(), settings.batch_size):
        longest = max(len(windows[number]) for number in part) - 1
        items_BL = torch.zeros(len(part), longest, dtype=torch.long)
        targets_BL = torch.full((len(part), longest), -1)
        for row, number in enumerate(part):
            window = torch.from_numpy(windows[number].astype(np.int64))
            items_BL[row, : len(window) - 1] = window[:-1]
            targets_BL[row, : len(window) - 1] = window[1:]
        yield items_BL, targets_BL


def _windows(histories: Histories, window: int, *, rng: np.random.Generator) -> list[Int32]:
    """Pieces of window + 1 items, each beginning with the last of the one before; the ends may be shorter."""
    pieces: list[Int32] = []
    for user in range(histories.num_users):
        items = histories.train(user)
        if len(items) > 1:
            first = int(rng.integers(1, window + 1))
            ends = [*range(min(first, len(items) - 1), len(items) - 1, window), len(items) - 1]
            begins = [0, *ends[:-1]]
            pieces += [items[begin : end + 1] for begin, end in zip(begins, ends, strict=True)]
    return pieces


def _loss(hidden_TD: Tensor, items_ND: Tensor, targets_T: Tensor) -> Tensor:
    """Mean cross-entropy over the catalogue, or over sampled items that stand for all others."""
    if len(items_ND) <= FULL_SOFTMAX_ITEMS:
        return functional.cross_entropy(hidden_TD @ items_ND.T, targets_T)
    sampled_M = torch.randint(len(items_ND), (SAMPLED_ITEMS,))
    own_T1 = (hidden_TD * items_ND[targets_T]).sum(1, keepdim=True)
    # each sampled item stands for N / M items
    others_TM = hidden_TD @ items_ND[sampled_M].T + math.log(len(items_ND) / SAMPLED_ITEMS)
    others_TM = others_TM.masked_fill(sampled_M[None, :] == targets_T[:, None], -math.inf)
    return functional.cross_entropy(torch.cat([own_T1, others_TM], 1), torch.zeros_like(targets_T))


def _parts(places: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _told(course: _Course, questions: Questions) -> str:
    if not len(questions):
        return f"sasrec: {course.best_epoch} epochs without validation targets, {course.seconds:.0f} s"
    return (
        f"sasrec: best after epoch {course.best_epoch} (NDCG@10 {course.best.ndcg:.4f}, recall@10 "
        f"{course.best.recall:.4f} on validation targets), {course.seconds:.0f} s; {course.ended}"
    )
