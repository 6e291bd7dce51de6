"""The think pattern: prompts say whether an answer thinks, and answers that do not have an empty block.

Pure functions on messages; how the block is written into the training text is the chat template's decision.
"""

from __future__ import annotations

import re
from dataclasses import replace

from onerec.data.source.validate import Message

THINK, NO_THINK = "/think", "/no_think"
EMPTY_BLOCK = "<think>\n\n</think>\n\n"
_BLOCK = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)


def with_think_pattern(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The same turns with a switch after each answered user turn, and a think block before each answer.

    An answer without `<think>` gets an empty block and `/no_think`; one that thinks gets `/think`; one whose
    block is empty gets `/no_think`. A user turn that already ends in a switch keeps the one it has.
    """
    turns = list(messages)
    for index, turn in enumerate(messages):
        if turn.role != "assistant":
            continue
        if index > 0 and messages[index - 1].role == "user":
            turns[index - 1] = with_switch(messages[index - 1], THINK if thinks(turn.content) else NO_THINK)
        if "<think>" not in turn.content:
            turns[index] = replace(turn, content=EMPTY_BLOCK + turn.content)
    return tuple(turns)


def thinks(answer: str) -> bool:
    """Whether an answer has a think block with something in it."""
    block = _BLOCK.search(answer)
    return block is not None and bool(block[1].strip())


def with_switch(turn: Message, switch: str) -> Message:
    """The user turn with a switch directly after its text, unless it already ends in one."""
    if turn.content.rstrip().endswith((THINK, NO_THINK)):
        return turn
    return replace(turn, content=turn.content + switch)
