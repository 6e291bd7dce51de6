"""A folder's tokenizer and chat template without transformers, for a renderer.

The template is run as transformers' apply_chat_template runs it, by the same rules of Jinja. One that asks
for more than messages is not run here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError, meta
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from onerec.model.hf_folder import CHAT_TEMPLATE_NAME, TOKENIZER_CONFIG_NAME, TOKENIZER_NAME, read_json

TOLD_ELSEWHERE = re.compile(r".*_tokens?|strftime_now")
"""What transformers tells a template beside messages: special tokens by name, the time."""


class LightTokenizer:
    """What a renderer asks of a tokenizer."""

    pad_token_id = None

    def __init__(self, backend: Tokenizer, source: str, template: Template) -> None:
        self.backend_tokenizer = backend
        self.chat_template = source
        self._template = template

    @classmethod
    def load(cls, folder: Path) -> LightTokenizer | None:
        """None where transformers has to be asked, be it for what is wrong with the folder."""
        source, told = _source(folder), _told(folder / TOKENIZER_NAME)
        template = _compiled(source) if source is not None else None
        if source is None or template is None or told is None:
            return None
        backend = Tokenizer.from_str(told)
        backend.no_truncation()
        backend.no_padding()
        return cls(backend, source, template)

    def apply_chat_template(
        self,
        chats: Sequence[Sequence[Mapping[str, str]]],
        *,
        tokenize: bool,
    ) -> list[str]:
        """Texts of conversations."""
        assert not tokenize, "a renderer asks for texts"
        options = {"tools": None, "documents": None, "add_generation_prompt": False}
        return [self._template.render(messages=chat, **options) for chat in chats]


def _told(path: Path) -> str | None:
    """The text of a tokenizer.json; None for what is no JSON, which its own reader tells badly."""
    try:
        told = path.read_text(encoding="utf-8")
        json.loads(told)
    except (OSError, ValueError):
        return None
    return told


def _source(folder: Path) -> str | None:
    path = folder / CHAT_TEMPLATE_NAME
    if path.is_file():
        return path.read_text(encoding="utf-8")
    told = read_json(folder / TOKENIZER_CONFIG_NAME).get("chat_template")
    return told if isinstance(told, str) else None


def _compiled(source: str) -> Template | None:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    try:
        asked = meta.find_undeclared_variables(environment.parse(source))
    except TemplateSyntaxError:
        return None
    return None if any(map(TOLD_ELSEWHERE.fullmatch, asked)) else environment.from_string(source)


def _to_json(value: Any, *, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> None:
    raise TemplateError(message)
