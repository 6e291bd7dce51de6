"""C13, input side: what is counted per source in a pack of 200 documents, against a loop with .item().

Ours is what the training loop does with every pack: `SourceCounts.add` and `LossTable.add`; which positions
are trained, whose they are and of which kind, and all that can be counted without the losses, data workers
found out before. The loop slices the pack document by document. Both in this process, on the CPU, where
.item() does not even wait for a device.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from onerec.data.loading.batch import Kinds, Pack, pack_of, packed
from onerec.data.text.label import IGNORED
from onerec.train.losses import LossTable, SourceCounts
from onerec.vocab import ItemicVocab
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import (
    Figure,
    Line,
    Lines,
    Run,
    at_least,
    at_most,
    benchmark,
    figure,
    in_turn,
    require_equal,
)
from tests.benchmarks.orders import MAX_LENGTH, SEED

DOCUMENTS, SOURCES = 200, 8
VOCAB = ItemicVocab(3, 8192, first_id=151_669)
TITLE = "counts and losses by source, 200 documents a pack"
STEP_SECONDS = 0.3
"""A step of 32k tokens of Qwen3-0.6B on one H200 at 40 % of its peak: the shortest step anybody will see."""
CALLS = 20


@benchmark("C13", TITLE, needs_peers=False)
def metrics(bench: Bench) -> Lines:
    """Time of one pack, and its share of a step."""
    pack = _pack()
    losses_T = torch.from_numpy(np.random.default_rng(SEED).random(MAX_LENGTH))
    with torch.random.fork_rng():
        torch.set_num_threads(1)
        runs = in_turn(
            {
                "ours": lambda: _timed(_ours, pack, losses_T[pack.trained_N]),
                "loop": lambda: _timed(_loop, pack, losses_T),
            },
            repeats=bench.times(7),
        )
    require_equal("counts by source", {name: made[0]["cells"] for name, made in runs.items()})
    ours = figure("ours", runs["ours"])
    yield Line(TITLE, ours, figure("loop with .item()", runs["loop"]), at_least(50))
    share = Figure("ours", tuple(100 * seconds / STEP_SECONDS for seconds in ours.values), "%")
    yield Line(f"{TITLE}: share of a step of {STEP_SECONDS} s", share, goal=at_most(1, "%"))


def _pack() -> Pack:
    draw = np.random.default_rng(SEED)
    borders = np.sort(draw.choice(np.arange(1, MAX_LENGTH), DOCUMENTS - 1, replace=False))
    lengths = np.diff(np.concatenate([[0], borders, [MAX_LENGTH]])).astype(np.int32)
    input_ids = draw.integers(0, VOCAB.last_id, MAX_LENGTH).astype(np.int32)
    trained = draw.random(MAX_LENGTH) < 0.5
    return pack_of(
        packed(
            input_ids,
            np.where(trained, draw.integers(140_000, VOCAB.last_id, MAX_LENGTH), IGNORED).astype(np.int32),
            Kinds(SOURCES, range(VOCAB.first_id, VOCAB.last_id + 1)),
            lengths=lengths,
            sources=draw.integers(0, SOURCES, DOCUMENTS).astype(np.int32),
            uuids=tuple(map(str, range(DOCUMENTS))),
            pack=0,
        )
    )


def _timed(count: Callable[[Pack, torch.Tensor], Any], pack: Pack, losses_T: torch.Tensor) -> Run:
    began = time.perf_counter()
    for _ in range(CALLS):
        counted = count(pack, losses_T)
    seconds = (time.perf_counter() - began) / CALLS
    return {"seconds": seconds, "cells": counted if isinstance(counted, dict) else _read(*counted)}


def _ours(pack: Pack, losses_N: torch.Tensor) -> tuple[SourceCounts, LossTable]:
    counts = SourceCounts([str(source) for source in range(SOURCES)])
    table = LossTable(SOURCES, device=torch.device("cpu"))
    counts.add(pack.read_S2)
    table.add(losses_N, pack.cells_N, pack.trained_S2)
    return counts, table


def _read(counts: SourceCounts, table: LossTable) -> dict:
    return {
        "read": counts.fresh_S2.tolist(),
        "trained": table.counts_S2.view(-1).tolist(),
        "losses": [round(loss, 6) for loss in table.losses_S2.view(-1).tolist()],
    }


def _loop(pack: Pack, losses_T: torch.Tensor) -> dict:
    tokens, samples, trained, losses = Counter(), Counter(), Counter(), Counter()
    for document in range(DOCUMENTS):
        start, end = pack.cu_seqlens[document].item(), pack.cu_seqlens[document + 1].item()
        source = pack.document_sources[document].item()
        labels, document_losses = pack.labels_T[start:end], losses_T[start:end]
        is_itemic = (labels >= VOCAB.first_id) & (labels <= VOCAB.last_id)
        for kind, mask in enumerate(((labels != IGNORED) & ~is_itemic, is_itemic)):
            trained[2 * source + kind] += mask.sum().item()
            losses[2 * source + kind] += document_losses[mask].sum().item()
        tokens[source] += end - start
        samples[source] += 1
    return {
        "read": [[tokens[source], samples[source]] for source in range(SOURCES)],
        "trained": [trained[cell] for cell in range(2 * SOURCES)],
        "losses": [round(losses[cell], 6) for cell in range(2 * SOURCES)],
    }
