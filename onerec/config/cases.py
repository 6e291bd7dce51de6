"""Prompts of a model test and what the answers must hold, read from a JSON file with all its faults at once.

Only pydantic and the standard library: a bad file is told before any model is loaded.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

from onerec.config.section import Section
from onerec.errors import ConfigError

SHOWN_CHARACTERS = 60
"""Of a value that is told in a message."""

Text = Annotated[str, Field(min_length=1)]


class ChatMessage(Section):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class GenerationCase(Section):
    """One prompt of a model test, and what the answer must hold."""

    name: Text
    """What the report calls it; no other case of the file has it."""
    kind: Literal["text", "chat"]
    """`text` goes on from a prompt; `chat` answers messages in the model's own template."""
    prompt: Text | None = None
    """Text to go on from (kind text)."""
    messages: tuple[ChatMessage, ...] = ()
    """Turns to answer (kind chat); the last one is not the assistant's."""
    system: Text | None = None
    """System message before the messages (kind chat)."""
    enable_thinking: bool = True
    """Whether the template leaves room for thinking (kind chat)."""
    do_sample: bool = False
    """Draw each token, instead of taking the likeliest."""
    temperature: Annotated[PositiveFloat, Field(allow_inf_nan=False)] | None = None
    """Default, as of top_p and top_k: what the folder's generation_config.json says."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: PositiveInt | None = None
    seed: NonNegativeInt = 0
    """Of the draws; the same seed gives the same answer."""
    max_new_tokens: PositiveInt | None = None
    """Longest answer; default: the test's."""
    expect: tuple[Text, ...] = ()
    """Substrings that the answer must hold, all of them; special tokens are part of the answer."""
    expect_any: tuple[Text, ...] = ()
    """Substrings of which the answer must hold at least one."""
    reject: tuple[Text, ...] = ()
    """Substrings that the answer must not hold."""
    expect_items: bool = False
    """The answer must hold a whole item, and every itemic token in it must be part of one."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> GenerationCase:
        found = [*_misfits_of_kind(self), *_misfits_of_sampling(self)]
        if found:
            raise ValueError("\n".join(found))
        return self

    def texts(self) -> list[str]:
        """Everything that the prompt is made of."""
        told = [self.system, self.prompt, *(message.content for message in self.messages)]
        return [text for text in told if text is not None]


def load_cases(path: Path) -> tuple[GenerationCase, ...]:
    """The cases of a JSON list; raises ConfigError with every fault: file, case, key, remedy."""
    listed = _json_list(path)
    read = [_case_or_faults(element) for element in listed]
    cases = [case for case in read if isinstance(case, GenerationCase)]
    faults = [
        f"{path}: {_place(number, element)}: {fault}"
        for number, (element, told) in enumerate(zip(listed, read, strict=True), start=1)
        if not isinstance(told, GenerationCase)
        for fault in told
    ]
    names = [element.get("name") for element in listed if isinstance(element, dict)]
    twice = sorted({name for name in names if isinstance(name, str) and names.count(name) > 1})
    faults += [
        f"{path}: {name!r} is the name of {names.count(name)} cases; rename all but one" for name in twice
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    return tuple(cases)


def _json_list(path: Path) -> list[object]:
    remedy = "give a JSON list of test cases, such as "
    remedy += '[{"name": "greeting", "kind": "text", "prompt": "Hello"}]'
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as fault:
        raise ConfigError(f"{path} is missing; {remedy}") from fault
    except IsADirectoryError as fault:
        raise ConfigError(f"{path} is a folder; {remedy}") from fault
    except json.JSONDecodeError as fault:
        raise ConfigError(f"{path}:{fault.lineno}:{fault.colno}: no JSON ({fault.msg}); {remedy}") from fault
    except UnicodeDecodeError as fault:
        raise ConfigError(f"{path} is no text ({fault}); {remedy}") from fault
    if not isinstance(document, list) or not document:
        what = "holds no test case" if document == [] else f"holds {_shown(document)}, which is no list"
        raise ConfigError(f"{path} {what}; {remedy}")
    return document


def _case_or_faults(element: object) -> GenerationCase | list[str]:
    try:
        return GenerationCase.model_validate_json(json.dumps(element))
    except ValidationError as fault:
        return [told for error in fault.errors() for told in _told(error)]


def _misfits_of_kind(case: GenerationCase) -> Iterator[str]:
    given = case.model_fields_set
    if case.kind == "text":
        if case.prompt is None:
            yield "prompt: is missing; kind text goes on from it"
        for key in ("messages", "system", "enable_thinking"):
            if key in given:
                yield f'{key}: is for kind chat; remove it, or set kind to "chat"'
        return
    if case.prompt is not None:
        yield 'prompt: is for kind text; write messages, or set kind to "text"'
    if not case.messages:
        yield 'messages: are missing; write [{"role": "user", "content": "..."}]'
    elif case.messages[-1].role == "assistant":
        yield "messages: end with the assistant's turn; end with the user's, which is to be answered"
    elif case.system is not None and any(message.role == "system" for message in case.messages):
        yield "system: there is a system message among the messages too; keep one of them"


def _misfits_of_sampling(case: GenerationCase) -> Iterator[str]:
    for key in ("temperature", "top_p", "top_k", "seed"):
        if key in case.model_fields_set and not case.do_sample:
            yield f"{key}: a greedy answer draws nothing; set do_sample to true, or remove it"


def _told(error: Any) -> Sequence[str]:
    """The faults of one of pydantic's errors as `key: what is wrong; remedy`."""
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{_bare(key)}" for key in error["loc"])[1:]
    kind, given = error["type"], _shown(error["input"])
    if kind == "value_error":
        return str(error["ctx"]["error"]).split("\n")
    if kind == "missing":
        return [f"{where}: is missing; add it"]
    if kind == "extra_forbidden":
        return [f"{where}: no such key; {_remedy_of_unknown(error['loc'])}"]
    if not where:
        return [f'is {given}; write an object, such as {{"name": "...", "kind": "text", "prompt": "..."}}']
    wanted = error["msg"][error["msg"].index("should") :]
    return [f"{where}: {wanted}, is {given}; correct it"]


def _remedy_of_unknown(place: tuple[str | int, ...]) -> str:
    section: type[Section] = GenerationCase if len(place) == 1 else ChatMessage
    near = difflib.get_close_matches(str(place[-1]), section.model_fields, n=1)
    return f"did you mean {near[0]!r}?" if near else f"remove it; keys are {', '.join(section.model_fields)}"


def _place(number: int, element: object) -> str:
    name = element.get("name") if isinstance(element, dict) else None
    return f"case {number}" + (f" {_shown(name)}" if isinstance(name, str) else "")


def _bare(key: str) -> str:
    return json.dumps(key)[1:-1]


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
