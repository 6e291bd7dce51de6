"""The words that Qwen3's pre-tokenizer cuts text into, for text of well-known characters.

Nothing here guesses: text with any other character is not plain, and is left to the tokenizer itself.
"""

from __future__ import annotations

import re

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern of the pre-tokenizer for which this file and `can_be_cut` are right."""

LETTERS = "A-Za-zªµºÀ-ÖØ-öø-žЁА-яёぁ-ゖァ-ヺー々一-龥가-힣Ａ-Ｚａ-ｚ"
NUMBERS = "0-9²³¹¼-¾０-９"
SPACES = "\t-\r \u00a0\u3000"
OTHERS = (
    r"\0-\x08\x0e-\x1f!-/:-@\[-`{-\x7f"
    r"¡-©«-±´¶-¸»¿×÷‐-‧‰-⁞←-⇿─-◿☀-⛿、-〃〈-〠！-／：-＠［-｀｛-･"
    "\u200d\ufe0f\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001f9ff"
)
"""Sets of characters whose class no version of Unicode has changed, and which NFC leaves as they are in any
company of their like. No combining marks; no long s, which stands for s in `(?i:'s)`."""

_STRANGE = re.compile(f"[^{LETTERS}{NUMBERS}{SPACES}{OTHERS}]")
_L, _N, _S = LETTERS, NUMBERS, SPACES
_WORD = re.compile(
    r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
    rf"|[^\r\n{_L}{_N}]?[{_L}]+|[{_N}]"
    rf"| ?[^{_S}{_L}{_N}]+[\r\n]*|[{_S}]*[\r\n]+|[{_S}]+(?![^{_S}])|[{_S}]+"
)
_LINES_GO_ON = re.compile(r"\s*[\r\n]")


def is_plain(text: str) -> bool:
    """Whether every character of the text is one whose class is known here."""
    return text.isascii() or _STRANGE.search(text) is None


def words_of(text: str) -> list[str]:
    """Words of a plain text; their concatenation is the text, and each of them alone is one word again.

    A word alone stays one word because the pattern looks at nothing before a word, and after it only whether
    blanks are followed by a blank or the end: what the last two alternatives take, both take whole alone.
    """
    return _WORD.findall(text)


def can_be_cut(text: str, place: int) -> bool:
    """Whether both halves of a text that is cut here, after a newline, have the ids of the whole.

    The pattern matches from left to right. What takes a newline takes the newlines that follow and no more,
    or all blanks up to the last newline among them. So if no newline comes before the next character that is
    not blank, a word ends here, and the next begins here whatever was before. NFC composes nothing with a
    newline.
    """
    return text[place - 1] == "\n" and _LINES_GO_ON.match(text, place) is None
