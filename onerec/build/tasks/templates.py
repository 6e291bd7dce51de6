"""Templates from a TOML file that users may edit, checked with file, place and remedy when they are loaded.

All faults of a file are told at once. Which wording a row gets is decided elsewhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli

from onerec.build.tasks.wording import Wording, WordingError, read_wording
from onerec.config import BuildData
from onerec.errors import ConfigError
from onerec.vocab import ITEMIC_PATTERN

BUILT_IN = Path(__file__).with_name("templates.toml")
ITEM = frozenset({"item", "title", "year", "categories", "text"})


@dataclass(frozen=True)
class Kind:
    """What the wordings of one list are about."""

    task: str
    required: frozenset[str]
    """Fields without which a row says nothing; they stand outside of brackets."""
    optional: frozenset[str] = field(default=frozenset())


KINDS = {
    "history": Kind("history", frozenset({"history"})),
    "item_to_text": Kind("item_text", frozenset({"item", "title"}), ITEM),
    "text_to_item": Kind("item_text", frozenset({"item", "title"}), ITEM),
    "user_profile": Kind(
        "user_profile", frozenset({"recent"}), frozenset({"categories", "who", "age", "occupation"})
    ),
    "next_item": Kind("next_item", frozenset({"history"})),
    "typed_next_item": Kind("typed_next_item", frozenset({"history", "type"})),
    "label_prediction": Kind("label_prediction", frozenset({"history", "item"}), frozenset({"type"})),
    "item_description": Kind("item_description", frozenset({"item"})),
    "item_description_answer": Kind("item_description", frozenset({"title"}), ITEM - {"item"}),
    "interactive": Kind("interactive", frozenset({"history", "query"})),
}
"""Lists of a language."""
WORDS_OF_TASKS = {"label_prediction": ("yes", "no"), "user_profile": ("man", "woman", "person")}
"""Words that rows of a task need beside those that templates name."""


@dataclass(frozen=True)
class Templates:
    """Wordings of all lists that are needed, with the words of the source put in."""

    wordings: Mapping[str, tuple[Wording, ...]]
    """By list, of all languages, in the order of the languages."""
    words: Mapping[str, Mapping[str, str]]
    """By language."""
    types: Mapping[str, Mapping[str, str]]
    """By language: how types of interaction are said."""

    @property
    def languages(self) -> tuple[str, ...]:
        """In their order."""
        return tuple(self.words)

    def said_type(self, name: str, language: str) -> str:
        """A type of interaction in words; one that the templates do not know is said as it is."""
        return self.types[language].get(name, name)


def load_templates(data: BuildData, *, domain: str = "item") -> Templates:
    """The templates that a build takes, in the words for what its items are (film, product).

    Raises ConfigError with every fault of the file.
    """
    path = Path(data.templates) if data.templates is not None else BUILT_IN
    document = _read(path)
    needed = [name for name, kind in KINDS.items() if kind.task in {*data.tasks, "next_item"}]
    faults = list(_unknown_languages(document, data.languages))
    made = {}
    for language in data.languages:
        if isinstance(document.get(language), dict):
            reader = _Reader(language, document[language], needed)
            made[language] = reader.read(domain)
            faults += reader.faults
    if faults:
        raise ConfigError(f"{path}: " + f"\n{path}: ".join(faults))
    return Templates(
        wordings={name: tuple(one for table in made.values() for one in table[0][name]) for name in needed},
        words={language: table[1] for language, table in made.items()},
        types={language: table[2] for language, table in made.items()},
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(f"templates {path} cannot be read ({fault.strerror}); name a TOML file") from fault
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"templates {path} is no TOML: {fault}; begin with a copy of {BUILT_IN}") from fault


def _unknown_languages(document: Mapping[str, Any], languages: Sequence[str]) -> Iterator[str]:
    for language in languages:
        if not isinstance(document.get(language), dict):
            has = ", ".join(key for key, value in document.items() if isinstance(value, dict)) or "none"
            yield f"no table [{language}]; write one, or choose data.languages of those that are there: {has}"


class _Reader:
    """Reads the table of one language and notes its faults."""

    def __init__(self, language: str, table: Mapping[str, Any], needed: Sequence[str]) -> None:
        self.faults: list[str] = []
        self._language, self._table, self._needed = language, table, needed

    def read(
        self, domain: str
    ) -> tuple[dict[str, tuple[Wording, ...]], Mapping[str, str], Mapping[str, str]]:
        """Wordings by list, words, and types in words."""
        words = self._words("words", self._table.get("words", {}))
        domains = self._table.get("domains", {})
        if not isinstance(domains, dict):
            self._note("domains", "is no table", "give tables of words by domain")
        else:
            others = {name: self._words(f"domains.{name}", table) for name, table in domains.items()}
            words = {**words, **others.get(domain, {})}
        types = self._words("types", self._table.get("types", {}))
        self._check_words(words)
        for name in self._table:
            if name not in {*KINDS, "words", "types", "domains"}:
                near = difflib.get_close_matches(name, KINDS, n=1)
                remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
                self._note(name, "is no kind of rows", remedy)
        return {name: self._list(name, words) for name in KINDS}, words, types

    def _words(self, place: str, table: object) -> dict[str, str]:
        if not isinstance(table, dict) or not all(isinstance(word, str) for word in table.values()):
            self._note(place, "is not a table of texts", 'write name = "text" lines')
            return {}
        for name, word in table.items():
            self._check_itemic(f"{place}.{name}", word)
        return dict(table)

    def _check_words(self, words: Mapping[str, str]) -> None:
        fields = {name for kind in KINDS.values() for name in kind.required | kind.optional}
        for name in sorted(fields & set(words)):
            self._note(f"words.{name}", "is a field that rows fill in", "give the word another name")
        for task in {KINDS[name].task for name in self._needed} & set(WORDS_OF_TASKS):
            for name in WORDS_OF_TASKS[task]:
                if not words.get(name, "").strip():
                    self._note("words", f"has no {name}, which {task} needs", f'write {name} = "..."')
        if words.get("yes") is not None and words.get("yes") == words.get("no"):
            self._note("words", "has the same text for yes and no", "give two that differ")

    def _list(self, name: str, words: Mapping[str, str]) -> tuple[Wording, ...]:
        if name not in self._table:
            if name in self._needed:
                task = KINDS[name].task
                self._note(name, "is missing", f"write the list, or leave {task} out of data.tasks")
            return ()
        texts = self._table[name]
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            self._note(name, "is not a list of one text or more", 'write name = ["...", "..."]')
            return ()
        return tuple(self._wording(name, number, text, words) for number, text in enumerate(texts, 1))

    def _wording(self, name: str, number: int, text: str, words: Mapping[str, str]) -> Wording:
        place = f"{name}, wording {number}"
        self._check_itemic(place, text)
        try:
            wording = read_wording(text, self._language).put(words)
        except WordingError as fault:
            self._note(place, f"has {fault}")
            return Wording(self._language, ())
        kind = KINDS[name]
        for unknown in sorted(wording.fields - kind.required - kind.optional):
            known = ", ".join(sorted(kind.required | kind.optional | set(words)))
            self._note(place, f"has the unknown field {{{unknown}}}", f"there are {known}")
        for missing in sorted(kind.required - wording.required):
            self._note(place, f"has no {{{missing}}}", "add it, outside of [ ]")
        return wording

    def _check_itemic(self, place: str, text: str) -> None:
        spelled = ITEMIC_PATTERN.search(text)
        if spelled:
            self._note(place, f"spells the itemic token {spelled[0]}", "fields put items in; take it out")

    def _note(self, place: str, what: str, remedy: str = "") -> None:
        self.faults.append(f"[{self._language}] {place} {what}" + (f"; {remedy}" if remedy else ""))
