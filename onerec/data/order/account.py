"""What a stage will read, exactly: samples and tokens of each source and dataset, repeats, packs, padding.

Counted from the plans, so it is what happens and not what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onerec.config import DataOrder
from onerec.data.order.mixture import GroupNumbers
from onerec.data.order.plan import EpochPlan, open_plan
from onerec.data.order.selection import By, Kept, Planned, Selection, count_by, plan_validation
from onerec.data.order.shuffle import CHUNK
from onerec.data.store.pool import Pool

REPEATS_TOLD = 4.0
"""Up to about four reads of a text are worth nearly as much as new text (Muennighoff et al., 2023)."""

GROUPINGS: tuple[By, By] = ("source", "dataset")
Counts = npt.NDArray[np.int64]


def account_of(planned: Planned, data: DataOrder, *, packs_per_step: int) -> dict[str, Any]:
    """The account as JSON values; raises what `Selection` and `plan_validation` raise."""
    plans = [open_plan(path) for path in planned.paths]
    selection = Selection(planned.pool, data)
    kept = selection.kept()
    sources, datasets = (_facts(planned.pool, selection, kept, plans, by=by) for by in GROUPINGS)
    packs = [len(plan) for plan in plans]
    tokens = sum(sum(facts["tokens_per_epoch"]) for facts in datasets.values())
    return {
        "packs_per_epoch": packs,
        "total_packs": sum(packs),
        "total_steps": -(-sum(packs) // packs_per_step),
        "padding_fraction": 1 - tokens / (sum(packs) * data.max_length),
        "sources": sources,
        "datasets": datasets,
        "held_out_samples": sum(part.held_out for part in kept),
        "samples_also_in_validation": sum(part.in_validation for part in kept),
        "validation": _validation(data),
        "warnings": [*_idle_fractions(data, kept), *_repeats("source", sources, data)],
    }


def _facts(
    pool: Pool, selection: Selection, kept: Sequence[Kept], plans: Sequence[EpochPlan], *, by: By
) -> dict[str, Any]:
    """Facts of each source or dataset; where all epochs read the same samples, they are counted once."""
    names, numbers = selection.names(by), selection.numbers(by, kept)
    there = count_by(numbers, pool.lengths, len(names))
    if selection.mixture is None:
        read = [there] * len(plans)
    else:
        read = [_read(plan, numbers, pool.lengths, len(names)) for plan in plans]
    total = np.maximum(sum(counts.sum(axis=0) for counts in read), 1)
    return {
        name: _group_facts(there[place], np.array([counts[place] for counts in read]), total)
        for place, name in enumerate(names)
    }


def _read(plan: EpochPlan, numbers: GroupNumbers, lengths: npt.NDArray[np.int32], groups: int) -> Counts:
    counts = np.zeros((groups, 2), dtype=np.int64)
    for start in range(0, len(plan.samples), CHUNK):
        samples = plan.samples[start : start + CHUNK]
        counts += count_by(numbers[samples], lengths[samples], groups)
    return counts


def _group_facts(there: Counts, read: Counts, total: Counts) -> dict[str, Any]:
    """Facts of one group: what there is to train on, what each epoch reads of it, its share of the run."""
    samples, tokens = (int(value) for value in there)
    of_samples, of_tokens = (float(value) for value in read.sum(axis=0) / total)
    return {
        "samples": samples,
        "tokens": tokens,
        "samples_per_epoch": read[:, 0].tolist(),
        "tokens_per_epoch": read[:, 1].tolist(),
        "sample_share": of_samples,
        "token_share": of_tokens,
        "repeats": float(read[:, 0].mean()) / samples if samples else 0.0,
    }


def _validation(data: DataOrder) -> dict[str, int] | None:
    planned = plan_validation(data)
    if planned is None:
        return None
    plan = open_plan(planned.paths[0])
    tokens = planned.pool.lengths[plan.samples].sum(dtype=np.int64)
    return {"samples": len(plan.samples), "tokens": int(tokens), "packs": len(plan)}


def _idle_fractions(data: DataOrder, kept: Sequence[Kept]) -> list[str]:
    return [
        f"validation_fraction {dataset.validation_fraction} holds out none of the {len(part.mask):,} samples "
        f"of dataset {dataset.name!r}: nothing of it is evaluated; raise the fraction"
        for dataset, part in zip(data.datasets, kept, strict=True)
        if dataset.validation_fraction and not part.held_out
    ]


def _repeats(kind: str, groups: dict[str, Any], data: DataOrder) -> list[str]:
    lines = []
    for name, facts in groups.items():
        if facts["repeats"] > REPEATS_TOLD:
            over = f", {facts['repeats'] * data.num_epochs:.1f} times in all" * (data.num_epochs > 1)
            lines.append(f"{kind} {name!r} is read {facts['repeats']:.1f} times an epoch{over}")
        elif facts["samples"] and not any(facts["samples_per_epoch"]):
            lines.append(f"{kind} {name!r} has {facts['samples']:,} training samples, none of which is read")
    return lines
