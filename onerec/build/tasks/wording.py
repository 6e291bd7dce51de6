"""One wording with fields, read from its text, and filled in for many rows at once.

Fields are columns of text that is escaped for JSON already; nothing here knows what they mean.

Shapes: R rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from onerec.build.tasks.columns import Text, beside, escaped, is_empty, scalar, taken

MARKS = re.compile(r"(\{\{|\}\}|\[\[|\]\]|\{[a-z_]+\}|\[|\]|\{|\})")
DOUBLED = {"{{": "{", "}}": "}", "[[": "[", "]]": "]"}

Columns = Mapping[str, Text]


class WordingError(ValueError):
    """Why a text is no wording: what is wrong in it and how it is put right."""


@dataclass(frozen=True)
class Field:
    """A place that is filled in."""

    name: str


@dataclass(frozen=True)
class Bracket:
    """A part that is left out where a field in it is empty."""

    parts: tuple[str | Field, ...]


Part = str | Field | Bracket


@dataclass(frozen=True)
class Wording:
    """One way to say something in one language."""

    language: str
    parts: tuple[Part, ...]

    @property
    def fields(self) -> set[str]:
        """Names of all fields."""
        return self.required | {
            part.name
            for one in self.parts
            if isinstance(one, Bracket)
            for part in one.parts
            if isinstance(part, Field)
        }

    @property
    def required(self) -> set[str]:
        """Names of the fields that stand outside of brackets."""
        return {part.name for part in self.parts if isinstance(part, Field)}

    def put(self, words: Mapping[str, str]) -> Wording:
        """The same with some fields replaced by words that are the same in every row."""
        return Wording(self.language, tuple(_put(part, words) for part in self.parts))

    def text(self, fields: Mapping[str, str]) -> str:
        """The text of one row, from plain texts; a field that is not given stays as it is written."""
        return "".join(_text(part, fields) for part in self.parts)

    def column(self, fields: Columns) -> Text:
        """The texts of R rows, escaped for JSON as the fields are."""
        return beside(*[_column(part, fields) for part in self.parts])


def read_wording(text: str, language: str) -> Wording:
    """A wording from its text; raises WordingError."""
    parts: list[Part] = []
    inner: list[str | Field] | None = None
    for mark in filter(None, MARKS.split(text)):
        if mark == "[":
            if inner is not None:
                raise WordingError("a [ within [ ]; close the first, or write [[ for a bracket that is meant")
            inner = []
        elif mark == "]":
            if inner is None:
                raise WordingError("a ] without [; write ]] for a bracket that is meant")
            if not any(isinstance(part, Field) for part in inner):
                raise WordingError("[ ] without a field in it; write [[ ]] for brackets that are meant")
            parts.append(Bracket(tuple(inner)))
            inner = None
        else:
            (parts if inner is None else inner).append(_simple(mark))
    if inner is not None:
        raise WordingError("a [ that is not closed; write [[ for a bracket that is meant")
    return Wording(language, tuple(parts))


def fill(wordings: Sequence[Wording], choice_R: npt.NDArray[np.int64], fields: Mapping[str, Columns]) -> Text:
    """Texts of R rows, each in the wording of its number in `choice_R`; `fields` are by language."""
    order_R = np.argsort(choice_R, kind="stable")
    groups = np.split(order_R, np.cumsum(np.bincount(choice_R, minlength=len(wordings)))[:-1])
    made = [
        wording.column({name: taken(fields[wording.language][name], rows) for name in wording.fields})
        for wording, rows in zip(wordings, groups, strict=True)
        if len(rows)
    ]
    if not made:
        return pa.array([], pa.string())
    place_R = np.empty_like(order_R)
    place_R[order_R] = np.arange(len(order_R))
    return taken(pa.concat_arrays(made), place_R)


def _simple(mark: str) -> str | Field:
    if mark in {"{", "}"}:
        raise WordingError(f"a lone {mark}; a field is {{name}}, and a brace that is meant is {mark}{mark}")
    if mark in DOUBLED:
        return DOUBLED[mark]
    return Field(mark[1:-1]) if mark.startswith("{") else mark


def _put(part: Part, words: Mapping[str, str]) -> Part:
    if isinstance(part, Bracket):
        return Bracket(tuple(_put_simple(one, words) for one in part.parts))
    return _put_simple(part, words)


def _put_simple(part: str | Field, words: Mapping[str, str]) -> str | Field:
    return words.get(part.name, part) if isinstance(part, Field) else part


def _text(part: Part, fields: Mapping[str, str]) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Field):
        return fields.get(part.name, f"{{{part.name}}}")
    names = [one.name for one in part.parts if isinstance(one, Field)]
    return "".join(_text(one, fields) for one in part.parts) if all(map(fields.get, names)) else ""


def _column(part: Part, fields: Columns) -> Text | str:
    if isinstance(part, str):
        return escaped(part)
    if isinstance(part, Field):
        return fields[part.name]
    said = beside(*[_column(one, fields) for one in part.parts])
    for one in part.parts:
        if isinstance(one, Field):
            said = pc.if_else(is_empty(fields[one.name]), scalar(""), said)
    return said
