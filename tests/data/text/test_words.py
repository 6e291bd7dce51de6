"""The words of plain text are the tokenizer's own, whatever stands next to whatever."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers

from onerec.data.text.words import QWEN_PATTERN, can_be_cut, is_plain, words_of

PLAIN = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000 and is_plain(chr(number))]
SPLIT = pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated")
COMPANY = ("{}", "a{}", "{}a", "7{}7", " {} ", "?{}?", "\n{}\n", "  {}x", "'{}", "一{}一", " {}\n\n", "{}{}")


def split(text: str) -> list[str]:
    return [piece for piece, _ in SPLIT.pre_tokenize_str(text)]


def test_plain_characters_are_known_by_their_class_in_any_company():
    texts = [pattern.format(letter, letter) for letter in PLAIN for pattern in COMPANY if is_plain(pattern)]
    assert len(PLAIN) > 33_000
    assert [text for text in texts if words_of(text) != split(text)] == []


def test_normalisation_changes_no_plain_character_and_joins_none_to_another():
    nfc = normalizers.NFC()
    assert [letter for letter in PLAIN if nfc.normalize_str(letter) != letter] == []
    pairs = (unicodedata.decomposition(chr(number)).split() for number in range(0x110000))
    seconds = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    assert seconds & set(PLAIN) == set()
    assert not [letter for letter in PLAIN if unicodedata.combining(letter) or "ᄀ" <= letter <= "ᇿ"]


def test_words_of_random_plain_text_are_the_tokenizers_and_each_is_one_word_alone():
    draw = random.Random(5)
    letters = [*"aAsStTrReEvVmMlLdD'' .,!?0123456789-\"\t\r\n\n\n    \u3000\u00a0\0", *draw.sample(PLAIN, 40)]
    for _ in range(20_000):
        text = "".join(draw.choices(letters, k=draw.randrange(24)))
        found = words_of(text)
        assert found == split(text), ascii(text)
        assert all(words_of(word) == [word] for word in found), ascii(text)


@pytest.mark.parametrize(
    "text", ["e\u0301", "\u1100\u1161", "ſ", "\u212b", "٣", "ﷺ", "\u2003", "\u200b", "〇", "Ⅷ"]
)
def test_text_with_other_characters_is_not_plain(text):
    assert not is_plain(text)


def test_a_text_is_cut_after_a_newline_only_where_a_word_ends():
    blanks = [chr(n) for n in range(0x3001) if re.match(r"\s", chr(n))] + [
        "\u180e",
        "\u200b",
        "\u0301",
        "x",
        "7",
        "?",
    ]
    cut = 0
    for first in blanks:
        for second in blanks:
            for before in ("assistant\n", "a.\n", " \n"):
                text = before + first + second + "x"
                ends = {len("".join(split(text)[: n + 1])) for n in range(len(split(text)))}
                if can_be_cut(text, len(before)):
                    cut += 1
                    assert len(before) in ends, ascii(text)
    assert cut > 2000
    assert not can_be_cut("assistant\n\nx", 10)
    assert not can_be_cut("assistant\n \nx", 10)
    assert can_be_cut("assistant\n  x", 10)
    assert not can_be_cut("assistant", 4)
