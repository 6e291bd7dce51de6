"""How alike two texts are: ROUGE-L and chrF, for descriptions in languages with and without blanks.

Pure. A Chinese or Japanese character is a word of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+")
CHRF_ORDER = 6
CHRF_BETA = 2.0


def rouge_l(said: str, wanted: str) -> float:
    """F1 of the longest common subsequence of words, lower case (Lin 2004); 0 to 1."""
    said_words, wanted_words = (WORD.findall(text.lower()) for text in (said, wanted))
    common = _common(said_words, wanted_words)
    if not common:
        return 0.0
    precision, recall = common / len(said_words), common / len(wanted_words)
    return 2 * precision * recall / (precision + recall)


def chrf(said: str, wanted: str) -> float:
    """Mean F2 of character n-grams of lengths 1 to 6, blanks left out (Popovic 2015); 0 to 1.

    Lengths that neither text has do not count.
    """
    said, wanted = ("".join(text.split()) for text in (said, wanted))
    scores = []
    for order in range(1, CHRF_ORDER + 1):
        said_grams, wanted_grams = _grams(said, order), _grams(wanted, order)
        if said_grams or wanted_grams:
            scores.append(_f_beta(said_grams, wanted_grams))
    return sum(scores) / len(scores) if scores else 0.0


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, in memory of one row."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == other else max(above, row[place - 1])
            diagonal = above
    return row[-1]


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def _f_beta(said: Counter[str], wanted: Counter[str]) -> float:
    common = (said & wanted).total()
    if not common:
        return 0.0
    precision, recall, weight = common / said.total(), common / wanted.total(), CHRF_BETA**2
    return (1 + weight) * precision * recall / (weight * precision + recall)
