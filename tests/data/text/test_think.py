from __future__ import annotations

import pytest

from onerec.data.text.think import with_think_pattern
from tests.data.rows import chat


@pytest.mark.parametrize(
    ("turns", "wanted"),
    [
        ([("user", "q"), ("assistant", "a")], ["q/no_think", "<think>\n\n</think>\n\na"]),
        (
            [("user", "q"), ("assistant", "<think>t</think>a")],
            ["q/think", "<think>t</think>a"],
        ),
        (
            [("user", "q"), ("assistant", "<think>\n \n</think>a")],
            ["q/no_think", "<think>\n \n</think>a"],
        ),
        ([("user", "q"), ("assistant", "<think>t")], ["q/think", "<think>t"]),
        (
            [("user", "q"), ("assistant", "<think></think>a<think>t</think>")],
            ["q/no_think", "<think></think>a<think>t</think>"],
        ),
        ([("user", "q /think\n"), ("assistant", "a")], ["q /think\n", "<think>\n\n</think>\n\na"]),
        ([("assistant", "a"), ("user", "q")], ["<think>\n\n</think>\n\na", "q"]),
        (
            [("user", "q"), ("assistant", "a"), ("assistant", "b")],
            ["q/no_think", "<think>\n\n</think>\n\na", "<think>\n\n</think>\n\nb"],
        ),
        ([("system", "s"), ("assistant", "a")], ["s", "<think>\n\n</think>\n\na"]),
    ],
)
def test_switches_and_blocks_follow_each_answer(turns, wanted):
    assert [turn.content for turn in with_think_pattern(chat(*turns).messages)] == wanted
