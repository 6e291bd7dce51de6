"""Seeded text that tries to make a tokenizer's short cuts and the tokenizer itself disagree."""

from __future__ import annotations

import random

from onerec.data.source.validate import Row
from tests.data.rows import chat, text


def fragments(text: str) -> list[str]:
    return text.split(" ")


LOOK_ALIKES = [
    *fragments(
        "<s_a_8192> <s_a_01> <s_a_00> <s_a_007> <s_a_0000> <s_d_1> <s_A_1> <S_a_1> <s_a_-1> <s_a_+1> <s_a_>"
    ),
    *fragments(
        "<s_a_1.0> <s_a_１> <ｓ_a_1> <s_a_12345> <s_a_99999999999999999999> <s_a_1 <s_a_ <s_ <s s_a_1> _1>"
    ),
    *fragments(
        "> < << >> <> <<s_b_2>> <s__1> <s_`_1> <s_{_1> <s_b_:> <s_b_/> <s-a-1> <|sid_begin> <sid_begin>"
    ),
    *fragments(
        "<|SID_BEGIN|> <|sid_begin|<|sid_end|> <|sid_end| |sid_end|> <|sid_| ＜s_a_1＞ <|im_start <|im_"
    ),
    *fragments(
        "im_end|> <|im_end <|im_end|>> <|endoftext| <think <Think> </think <think/> <|im_start|assistant"
    ),
    *("< s_a_1>", "<s_a_1 >", "<s_a_ 1>", "</ think>", "<|im_start|>assistant\n", "<|im_end|>\n", "¦", "|"),
]
PLAIN = [
    *fragments(
        "the quick brown fox jumps over Don't WE'LL they've I'm 'sTORY o'clock 's 'S 'LL ''s naïve café"
    ),
    *fragments(
        "Straße ſ 'ſ 'ﬆ 'ſt 123 3.14 1,000 ２０２４ Ⅷ ² ½ ٣ १२ https://x.y/z?a=b&c=d foo_bar fooBar x=1;"
    ),
    *fragments(
        "{} [] () ?! -> == # $ % ^ & * ` ~ \\ / 用户 按时间顺序观看了以下电影 你好，世界！ 。 、 “引号”"
    ),
    *fragments(
        "《书》 每天 汉字漢字 ひらがな カタカナ ー 々 〇 한국어 русский ё ελληνικά عربي עברית हिन्दी ไทย"
    ),
    *fragments(
        "ქართული ﷺ ㍿ ① Ａｂｃ １２ ＆ ｱｲｳ \u2126 \u212b \u212a ﬁ ǆ ŉ İ ı \uf900 \u2329 \u037e \u1fef 𝒳 𠀀 𐍈"
    ),
]
MARKS = [
    *fragments(
        "e\u0301 \u0301 \u0323\u0301 \u0301\u0323 A\u030a o\u0308\u0304 \u3099 か\u3099 \u1112\u1161\u11ab"
    ),
    *fragments(
        "한\u11a8 가\u11a8 \u1100\u1161 \u0915\u093c \u09c7\u09be \u0f71\u0f72 \u0344 \u0340 \u1e9b\u0323"
    ),
    *fragments(
        "\u0b47\u0b3e q\u0307\u0323 \u20dd \u0338 =\u0338 <\u0338 >\u0338 \u302a \ufe0f 1\ufe0f\u20e3"
    ),
    *fragments("\u0e33 \u0f73 \U0001d15e \ufb2c \u2adc \u0308\u0301 \u1161 \u11ab"),
]
EMOJI = fragments(
    "🎉 🔥 👩\u200d👧 👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👍🏽 🇨🇳 ☀️ ★ ✓ 🫠 \U0001faf7 ❤️\u200d🔥 Ⓜ"
)
CONTROL = [chr(number) for number in (*range(32), *range(127, 161))] + list(
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u202e\u2028\u2029\u2060\ufeff\ufffe\uffff\ufffd\ue000\uf8ff\U0010ffff"
)
BLANKS = [
    *(
        " ",
        "  ",
        "   ",
        " " * 9,
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        " \n",
        "\n ",
        "\n \n",
        " \n\n \t",
        "\n" * 12,
    ),
    *(
        "\u3000",
        "\u00a0",
        "\u2003",
        "\u2000",
        "\u1680",
        "\u205f",
        "\x0b",
        "\x0c",
        "\x85",
        "\x1c",
        "\x1f",
        "\u2028\n",
    ),
    *(" " * 40 + "\n" + " " * 40, "\t\t\t", "\n\u3000", "\n\t x"),
]


class StrangeText:
    """Text drawn from everything above, the spellings of a vocabulary, and now and then any character."""

    def __init__(self, seed: int, *, tokens: list[str], layers: int, codes: int) -> None:
        self._random = random.Random(seed)
        self._tokens, self._layers, self._codes = tokens, layers, codes

    def string(self, longest: int = 14) -> str:
        """Up to `longest` fragments side by side."""
        return "".join(self._fragment() for _ in range(self._random.randrange(longest)))

    def row(self, number: int = 0) -> Row:
        """A row of text or, twice as often, a conversation."""
        draw = self._random
        if draw.random() < 1 / 3:
            return text(*(self.string() for _ in range(draw.randint(1, 3))), number=number)
        roles = draw.choices(("user", "assistant", "system"), (4, 5, 1), k=draw.randint(1, 4))
        return chat(*((role, self.string(8)) for role in roles), number=number)

    def _fragment(self) -> str:
        draw = self._random
        kind = draw.randrange(16)
        if kind < 4:
            return "".join(self._itemic() for _ in range(draw.choice((1, 1, 2, 4))))
        if kind == 4:
            return f"<|sid_begin|>{self._itemic()}{self._itemic()}{self._itemic()}<|sid_end|>"
        if kind == 5:
            return draw.choice(self._tokens)
        if kind == 6:
            return chr(
                draw.choice((draw.randrange(0xD800), draw.randrange(0xE000, 0x110000), draw.randrange(0x600)))
            )
        if kind == 7:
            return self._damaged(draw.choice((self._itemic(), draw.choice(self._tokens))))
        return draw.choice(draw.choice((LOOK_ALIKES, PLAIN, PLAIN, MARKS, EMOJI, CONTROL, BLANKS, BLANKS)))

    def _itemic(self) -> str:
        draw = self._random
        code = draw.choice((0, 1, 9, 10, self._codes - 1, self._codes, draw.randrange(self._codes)))
        return f"<s_{'abcdefgh'[draw.randrange(self._layers + (draw.random() < 0.1))]}_{code}>"

    def _damaged(self, token: str) -> str:
        """A token with one character left out, doubled, or replaced."""
        draw = self._random
        at = draw.randrange(len(token))
        return (
            token[:at]
            + draw.choice(("", token[at] * 2, token[at].upper(), " ", "\u0301", "0"))
            + token[at + 1 :]
        )
