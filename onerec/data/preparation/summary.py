"""summary.json: what a prepared dataset holds, what was left out, and how many packs an epoch has.

Pure functions of counts and arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onerec.data.order.plan import EpochPlan
from onerec.data.preparation.report import FileReport, SourceReport


def data_summary(
    report: FileReport, lengths: npt.NDArray[np.int32], *, files: int, duplicates: int
) -> dict[str, Any]:
    """Rows, samples and tokens in all and by source, rejects, and how long the samples are."""
    total = report.total()
    return {
        "files": files,
        "rows": report.rows,
        **_counts(total),
        "rejected": total.rejects.total(),
        "rejects": dict(sorted(total.rejects.items())),
        "duplicate_uuids": duplicates,
        "sources": {name: _counts(counts) | _rejects(counts) for name, counts in report.sources.items()},
        "length_histogram": length_histogram(lengths),
        "longest_sample": int(lengths.max()) if len(lengths) else 0,
    }


def _counts(counts: SourceReport) -> dict[str, Any]:
    return {
        "samples": counts.samples,
        "tokens": counts.tokens,
        "trained_tokens": counts.trained_tokens,
        "itemic_tokens": counts.itemic_tokens,
        "overlong_dropped": counts.overlong_dropped,
        "overlong_split": counts.overlong_split,
    }


def _rejects(counts: SourceReport) -> dict[str, Any]:
    return {"rejects": dict(sorted(counts.rejects.items()))} if counts.rejects else {}


def length_histogram(lengths: npt.NDArray[np.int32]) -> dict[str, int]:
    """Number of samples by length in tokens: "129-256" counts those above 128 and up to 256."""
    exponents = np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    return {_bucket(power): int(count) for power, count in enumerate(np.bincount(exponents)) if count}


def _bucket(power: int) -> str:
    return f"{2 ** (power - 1) + 1}-{2**power}" if power > 1 else str(2**power)


def packing_summary(plan: EpochPlan, lengths: npt.NDArray[np.int32], *, max_length: int) -> dict[str, Any]:
    """Packs of one epoch and how well they are filled; other epochs differ by a pack or so.

    Samples that the plan does not have are those held out for validation.
    """
    capacity = len(plan) * max_length
    samples, tokens = len(plan.samples), int(lengths[plan.samples].sum(dtype=np.int64))
    return {
        "max_length": max_length,
        "packs_per_epoch": len(plan),
        "padding_fraction": 1 - tokens / capacity if capacity else 0.0,
        "samples_per_pack": samples / max(len(plan), 1),
        "validation_samples": len(lengths) - samples,
        "validation_tokens": int(lengths.sum(dtype=np.int64)) - tokens,
    }


def duplicate_count(hashes: npt.NDArray[np.uint64]) -> int:
    """How many rows have a uuid that an earlier row has."""
    ordered = np.sort(hashes)
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))
