"""What a sample of rows says about a dataset: sources, rejects, and estimates of tokens and packs. Pure.

Rows that preparing would reject or drop count as rows without tokens, so that totals stay honest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onerec.config import Dataset
from onerec.data.preparation.estimate import estimate_packs, estimate_total
from onerec.data.preparation.trial import Trial
from onerec.data.source.sources import shown
from onerec.data.text.label import count_trained

Document = dict[str, Any]


@dataclass(frozen=True)
class Tokens:
    """Tokens of one row as it will be stored."""

    total: int
    trained: int
    itemic: int


def rows_document(trials: Sequence[Trial], *, rows: int) -> Document:
    """What some of `rows` rows are, as far as the field rules go and, where there was one, the tokenizer."""
    rejected = [trial for trial in trials if trial.is_rejected]
    return {
        "sampled_rows": len(trials),
        "sampled_files": len({trial.record.file for trial in trials}),
        "sampled_all": len(trials) >= rows,
        "sources": {
            name: {"rows": len(group), "row_share": len(group) / len(trials)}
            for name, group in _by_source(trials)
        },
        "rejected_rows": len(rejected),
        "rejects": list(_rejects(rejected)),
    }


def tokens_document(
    trials: Sequence[Trial], dataset: Dataset, *, rows: int, itemic_ids: tuple[int, int]
) -> Document:
    """Estimates over all rows of what will be stored; empty without a sampled row."""
    if not trials:
        return {}
    counts = [_count(trial, itemic_ids) for trial in trials]
    sampled = sum(count.total for count in counts)
    total = estimate_total([count.total for count in counts], _file_numbers(trials), rows=rows)
    lengths = [len(sample.input_ids) for trial in trials for sample in trial.samples]
    packs = estimate_packs(lengths, sampled_rows=len(trials), rows=rows, max_length=dataset.max_length)
    return {
        "tokens": round(total.value),
        "tokens_plus_minus": None if total.plus_minus is None else round(total.plus_minus),
        "tokens_by_source": {
            name: round(tokens / len(trials) * rows) for name, tokens in _tokens_by_source(trials, counts)
        },
        "trained_share": sum(count.trained for count in counts) / max(sampled, 1),
        "itemic_share": sum(count.itemic for count in counts) / max(sampled, 1),
        "longest_sample": _longest(trials),
        "overlong_rows": sum(trial.is_overlong for trial in trials),
        "overlong": next(_places(trial for trial in trials if trial.is_overlong), None),
        "packs_per_epoch": int(np.ceil(packs)),
        "max_length": dataset.max_length,
    }


def _by_source(trials: Sequence[Trial]) -> list[tuple[str, list[Trial]]]:
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[trial.source].append(trial)
    return sorted(groups.items())


def _tokens_by_source(trials: Sequence[Trial], counts: Sequence[Tokens]) -> list[tuple[str, int]]:
    tokens: Counter[str] = Counter()
    for trial, count in zip(trials, counts, strict=True):
        tokens[trial.source] += count.total
    return sorted(tokens.items())


def _rejects(rejected: Sequence[Trial]) -> Iterator[Document]:
    """Every reason with how many rows have it and where the first one is, the most frequent first."""
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in rejected:
        groups[trial.reason].append(trial)
    for reason, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        first = next(_places(group))
        yield {**first, "reason": reason, "rows": len(group), "excerpt": group[0].excerpt}


def _places(trials: Iterable[Trial]) -> Iterator[Document]:
    for trial in trials:
        yield {"file": shown(trial.record.file), "row": trial.record.row, "reason": trial.reason}


def _count(trial: Trial, itemic_ids: tuple[int, int]) -> Tokens:
    first, last = itemic_ids
    ids = np.concatenate(
        [np.asarray(sample.input_ids) for sample in trial.samples] or [np.zeros(0, np.int32)]
    )
    return Tokens(
        total=len(ids),
        trained=sum(count_trained(sample.spans) for sample in trial.samples),
        itemic=int(np.count_nonzero((ids >= first) & (ids <= last))),
    )


def _file_numbers(trials: Sequence[Trial]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(trial.record.file, len(numbers)) for trial in trials]


def _longest(trials: Sequence[Trial]) -> Document | None:
    """The longest sample and the row it is of; a long text counts as the pieces it is split into."""
    lengths = [(len(sample.input_ids), trial) for trial in trials for sample in trial.samples]
    if not lengths:
        return None
    tokens, trial = max(lengths, key=lambda found: found[0])
    return {"tokens": tokens, "file": shown(trial.record.file), "row": trial.record.row}
