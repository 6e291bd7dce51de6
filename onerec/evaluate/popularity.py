"""The popularity model: an answer is an item, drawn as often as the training data mentions it.

It knows nothing of the user; a recommender that learned anything must beat it. No model is loaded here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from onerec.data.source.read import rows
from onerec.data.source.validate import Row
from onerec.errors import DataError
from onerec.vocab import SID_BEGIN, SID_END

ITEM = re.compile(re.escape(SID_BEGIN) + r"(?:<s_[a-z]_[0-9]+>)+" + re.escape(SID_END))


def mentions(folder: Path) -> Counter[str]:
    """How often each item stands in the texts of a parquet folder; raises DataError when none does."""
    counts: Counter[str] = Counter()
    for row in rows(str(folder)):
        counts.update(ITEM.findall("".join(_texts(row))))
    if not counts:
        raise DataError(f"{folder} mentions no item; give the training data of the recommender")
    return counts


def popularity_nats(counts: Counter[str], answers: Iterable[str]) -> float:
    """Mean nats per answer under the add-one unigram of `counts`; an unseen item counts as one."""
    total = sum(counts.values()) + len(counts) + 1
    nats = [-math.log((counts[answer] + 1) / total) for answer in answers]
    return sum(nats) / len(nats)


def answers_of(folder: Path) -> list[str]:
    """The items that the last assistant turns name, one a row; rows that name none are left out."""
    found = []
    for row in rows(str(folder)):
        last = row.messages[-1].content if row.messages else ""
        match = ITEM.search(last)
        if match:
            found.append(match[0])
    return found


def _texts(row: Row) -> Iterable[str]:
    if row.messages is None:
        return row.segments or ()
    return (message.content for message in row.messages)
