"""An evaluation as lines for people: one table of models, then what else was asked. Pure text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ALIKE = "95 % intervals by bootstrap over users"


def report_lines(document: Mapping[str, Any]) -> list[str]:
    """The whole report of an evaluation."""
    k, counts = document["headline_k"], document["counts"]
    lines = [
        f"{counts['asked']:,} of {counts['users']:,} users asked for their {document['split']} item among "
        f"{counts['items']:,}; {_left_out(counts)}; {ALIKE}",
        *model_table(document["table"], k=k),
        f"mrr counts the first {document['settings']['num_beams']} items; other targets count 0",
        *_met_before(document),
    ]
    lines += [_told_difference(name, figures, k=k) for name, figures in document["differences"].items()]
    for model, tasks in document["tasks"].items():
        lines += [f"{model}: {line}" for line in _task_lines(tasks, k=k)]
    lines += [line for told in document["baselines"].values() for line in told]
    return lines


def model_table(rows: Sequence[Mapping[str, Any]], *, k: int) -> list[str]:
    """Models one below the other, with the headline metrics; a baseline is marked."""
    names = [f"recall@{k}", f"ndcg@{k}", "mrr", f"coverage@{k}", "valid_id_rate"]
    heads = ["model", *(name.replace("valid_id_rate", "valid ids") for name in names)]
    body = [[_name(row), *(_cell(row.get(name)) for name in names)] for row in rows]
    widths = [max(len(line[column]) for line in [heads, *body]) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [heads, *body]
    ]


def headline(document: Mapping[str, Any]) -> str:
    """The model beside the best baseline, in one line."""
    k, table = document["headline_k"], document["table"]
    names = (f"recall@{k}", f"ndcg@{k}")
    told = [f"{table[0]['model']} " + " ".join(f"{name} {table[0][name]['value']:.4f}" for name in names)]
    baselines = [row for row in table if row["is_baseline"]]
    if baselines:
        best = max(baselines, key=lambda row: row[names[0]]["value"])
        told.append(f"{best['model']} " + " ".join(f"{best[name]['value']:.4f}" for name in names))
    return ", ".join(told)


def _left_out(counts: Mapping[str, int]) -> str:
    return (
        f"{counts['without_held_out_event']:,} have nothing held out, "
        f"{counts['left_out_by_max_users']:,} left out by max_users"
    )


def _met_before(document: Mapping[str, Any]) -> list[str]:
    count = document["counts"]["targets_met_before"]
    if not count or not document["settings"]["exclude_history"]:
        return []
    return [
        f"{count:,} users turned to an item of their history, which exclude_history hides from all models"
    ]


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['model']} (baseline)" if row["is_baseline"] else str(row["model"])


def _cell(estimate: Mapping[str, float | None] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "-"
    value, low, high = (estimate.get(key) for key in ("value", "low", "high"))
    if low is None or high is None:
        return f"{value:.4f}"
    return f"{value:.4f} [{low:.4f}, {high:.4f}]"


def _told_difference(model: str, figures: Mapping[str, Mapping[str, float | None]], *, k: int) -> str:
    parts = []
    for name in (f"recall@{k}", f"ndcg@{k}"):
        value, low, high = (figures[name][key] for key in ("value", "low", "high"))
        sure = "" if low is None or high is None or low > 0 or high < 0 else " (may be chance)"
        parts.append(f"{name} {value:+.4f}{sure}")
    return f"first model minus {model}: {', '.join(parts)}"


def _task_lines(tasks: Mapping[str, Any], *, k: int) -> list[str]:
    lines = []
    if "valid_beam_rate" in tasks:
        lines.append(
            f"without constraint, {tasks['valid_id_rate']['value']:.1%} of first answers and "
            f"{tasks['valid_beam_rate']['value']:.1%} of all beams are valid ids"
        )
    for task, figures in tasks.items():
        if task == "label_prediction":
            lines.append(
                f"label prediction: AUC {_cell(figures['auc'])} on {figures['questions']:,} questions, "
                f"{figures['positive']:,} positive"
            )
        elif task == "item_description":
            lines.append(
                f"item description: ROUGE-L {_cell(figures['rouge_l'])}, chrF {_cell(figures['chrf'])} on "
                f"{figures['questions']:,} items"
            )
        elif task not in {"valid_id_rate", "valid_beam_rate"}:
            lines.append(
                f"{task}: recall@{k} {_cell(figures[f'recall@{k}'])}, ndcg@{k} {_cell(figures[f'ndcg@{k}'])} "
                f"on {figures['questions']:,} questions"
            )
    return lines
