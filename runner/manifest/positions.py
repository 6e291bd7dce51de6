"""Where each key of a TOML text stands: path of keys and list indices to line and column.

Values are skipped, never read: tomli reads them. When the paths found here differ from those that tomli
found, there are no positions at all, so that a position cannot lie.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import tomli

KeyPath = tuple[str | int, ...]
"""Keys and list indices that lead to a value: ("stages", "base", "corpus", 0, "name")."""


@dataclass(frozen=True)
class Position:
    """A place in a text: line and column, both from 1; columns count characters."""

    line: int
    column: int


def locate_keys(text: str, document: Mapping[str, object]) -> dict[KeyPath, Position]:
    """Position of every key and list element of `text`, which tomli read as `document`; {} if in doubt."""
    try:
        offsets = scan(text)
    except ScanError:
        return {}
    if set(offsets) != set(paths_of(document)):
        return {}
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    return {path: _position(starts, offset) for path, offset in offsets.items()}


def paths_of(value: object, above: KeyPath = ()) -> Iterator[KeyPath]:
    """Path of every key and list element inside `value`."""
    if isinstance(value, Mapping):
        inner: Iterator[tuple[str | int, object]] = iter(value.items())
    elif isinstance(value, list):
        inner = iter(enumerate(value))
    else:
        return
    for key, below in inner:
        yield (*above, key)
        yield from paths_of(below, (*above, key))


def _position(starts: list[int], offset: int) -> Position:
    line = bisect_right(starts, offset)
    return Position(line, offset - starts[line - 1] + 1)


class ScanError(ValueError):
    """The text is no TOML that this scanner knows."""


def scan(text: str) -> dict[KeyPath, int]:
    """Offset of every key and list element of a valid TOML text; raises ScanError when it makes no sense."""
    scanner = _Scanner(text)
    scanner.read_document()
    return scanner.offsets


_BLANK = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_STRING = re.compile(
    r'''"""(?:\\.|[^\\])*?""""{0,2}|\'\'\'.*?\'\'\''{0,2}|"(?:\\.|[^"\\\n])*"|'[^'\n]*\'''', re.DOTALL
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


@dataclass
class _Scanner:
    """Walks one text from its start to its end."""

    text: str
    offsets: dict[KeyPath, int] = field(default_factory=dict)
    _at: int = 0
    _start: int = 0
    _table: KeyPath = ()
    _lengths: dict[KeyPath, int] = field(default_factory=dict)

    def read_document(self) -> None:
        self._skip(_GAP)
        while self._at < len(self.text):
            if self.text.startswith("[", self._at):
                self._read_header()
            else:
                self._read_pair(self._table)
            self._skip(_GAP)

    def _read_header(self) -> None:
        many = self.text.startswith("[[", self._at)
        self._at += 2 if many else 1
        parts = self._read_key()
        self._expect("]]" if many else "]")
        path: KeyPath = ()
        for index, (part, offset) in enumerate(parts, start=1):
            path = (*path, part)
            if index == len(parts) and not many:
                self.offsets[path] = offset  # the table's own header, wherever it was named before
            self.offsets.setdefault(path, offset)
            if index == len(parts) and many:
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
                self.offsets.setdefault(path, offset)
        self._table = path

    def _read_pair(self, table: KeyPath) -> None:
        path = table
        for part, offset in self._read_key():
            path = (*path, part)
            self.offsets.setdefault(path, offset)
        self._expect("=")
        self._skip(_BLANK)
        self._read_value(path)

    def _read_key(self) -> list[tuple[str, int]]:
        parts: list[tuple[str, int]] = []
        while True:
            self._skip(_BLANK)
            parts.append((_unquote(self._take(_KEY_PART)), self._start))
            self._skip(_BLANK)
            if not self.text.startswith(".", self._at):
                return parts
            self._at += 1

    def _read_value(self, path: KeyPath) -> None:
        first = self.text[self._at : self._at + 1]
        if first == "[":
            self._read_array(path)
        elif first == "{":
            self._read_inline_table(path)
        elif first in ('"', "'"):
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _read_array(self, path: KeyPath) -> None:
        self._expect("[")
        index = 0
        while not self._closes("]"):
            element = (*path, index)
            self.offsets[element] = self._at
            self._read_value(element)
            index += 1
            self._skip_comma()

    def _read_inline_table(self, path: KeyPath) -> None:
        self._expect("{")
        while not self._closes("}"):
            self._read_pair(path)
            self._skip_comma()

    def _closes(self, bracket: str) -> bool:
        self._skip(_GAP)
        if self._at >= len(self.text):
            raise ScanError(f"{bracket} is missing")
        closed = self.text[self._at] == bracket
        self._at += closed
        return closed

    def _skip_comma(self) -> None:
        self._skip(_GAP)
        self._at += self.text.startswith(",", self._at)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self._at)
        self._at = found.end() if found else self._at

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self._at)
        if found is None or found.end() == found.start():
            raise ScanError(f"offset {self._at}: nothing that could be read")
        self._start, self._at = found.span()
        return found[0]

    def _expect(self, mark: str) -> None:
        self._skip(_BLANK)
        if not self.text.startswith(mark, self._at):
            raise ScanError(f"offset {self._at}: {mark} is missing")
        self._at += len(mark)


def _unquote(part: str) -> str:
    if part[0] == "'":
        return part[1:-1]
    if part[0] == '"':
        return next(iter(tomli.loads(f"{part} = 0")))
    return part
