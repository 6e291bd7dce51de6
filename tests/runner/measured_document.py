"""An evaluation's document as the trainer writes it, for tests of what is told of it."""

from __future__ import annotations

from typing import Any


def document(*, model: str = "sft", by: str = "history length") -> dict[str, Any]:
    """A model, another one and two baselines, one of them better in one figure."""
    rows = [
        _row(model, 0.1832, 0.1012, valid=0.97),
        _row("without SFT", 0.05, 0.02, valid=0.99),
        _row("popularity", 0.07, 0.031, is_baseline=True),
        _row("sasrec", 0.1791, 0.1093, is_baseline=True),
    ]
    segments = [
        {"by": by, "segment": name, "users": users, "model": row["model"], **_headline(row, factor)}
        for name, users, factor in (("1 to 10", 1200, 0.5), ("11 and more", 34, 1.5))
        for row in rows
    ]
    return {
        "split": "test",
        "headline_k": 10,
        "counts": {"users": 943, "asked": 940, "items": 1682},
        "table": rows,
        "segments": segments,
        "report": ["940 of 943 users asked", "model  recall@10"],
    }


def _row(
    model: str, recall: float, ndcg: float, *, valid: float | None = None, is_baseline: bool = False
) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model, "is_baseline": is_baseline}
    row["recall@10"] = {"value": recall, "low": recall - 0.01, "high": recall + 0.01}
    row["ndcg@10"] = {"value": ndcg, "low": ndcg - 0.01, "high": ndcg + 0.01}
    row["coverage@10"] = {"value": 0.5, "low": None, "high": None}
    if valid is not None:
        row["valid_id_rate"] = {"value": valid, "low": None, "high": None}
    return {**row, "seconds": 1.5}


def _headline(row: dict[str, Any], factor: float) -> dict[str, Any]:
    return {
        name: {"value": row[name]["value"] * factor, "low": None, "high": None}
        for name in ("recall@10", "ndcg@10")
    }
