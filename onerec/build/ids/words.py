"""Texts to words: what blanks and punctuation separate, and for Chinese and Japanese characters and pairs.

Nothing here knows a language's dictionary.
"""

from __future__ import annotations

import re
import unicodedata

UNSPACED = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Han characters and kana: scripts that write words without blanks between them."""
RUN = re.compile(rf"([{UNSPACED}]+)|[^\W{UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """Words in order, in lower case; a run of Han characters or kana gives each character and each pair."""
    found: list[str] = []
    for match in RUN.finditer(unicodedata.normalize("NFKC", text).lower()):
        run = match.group()
        if match.group(1) is None:
            found.append(run)
        else:
            found += run
            found += [run[i : i + 2] for i in range(len(run) - 1)]
    return found
