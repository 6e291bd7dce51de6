"""What a text that is no TOML was most likely meant to be, told with the place and what to write instead.

tomli finds that something is wrong and where it noticed; the words here come from what stands there. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runner.manifest.faults import dotted, printable, shown
from runner.manifest.positions import KeyPath, ScanError, scan


@dataclass(frozen=True)
class Syntax:
    """What is wrong with a text as a whole; line and column count from 1, None: all of it."""

    message: str
    remedy: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class _Spot:
    """The place where tomli noticed, and what it said."""

    lines: tuple[str, ...]
    line: int
    column: int
    words: str

    @property
    def text(self) -> str:
        return self.lines[self.line - 1]

    @property
    def before(self) -> str:
        return self.text[: self.column - 1]

    @property
    def rest(self) -> str:
        return self.text[self.column - 1 :]

    def told(
        self, message: str, remedy: str, *, line: int | None = None, column: int | None = None
    ) -> Syntax:
        return Syntax(message, remedy, line or self.line, column or self.column)


_AS_TOML = 'write name = "my-run" and [stages.NAME] tables, or copy one of manifests/'
_PLAIN_NUMBER = "write plain digits such as 16384, or 1e-4; a text goes in quotes"

WHOLE = (
    (r"\s*[{][\s\"}]", "this is JSON, and a manifest is TOML", _AS_TOML),
    (r"\s*\[\s*[{]", "this is JSON, and a manifest is TOML", _AS_TOML),
    (r"---\s*\n|%YAML", "this is YAML, and a manifest is TOML", _AS_TOML),
    (r"\s*<(!DOCTYPE|html|\?xml)", "this is a web page", "download the file itself, the raw text"),
    (r"PK\x03\x04|\x1f", "this is an archive", "unpack it, and give the manifest that is in it"),
)
"""Texts that are something else: how they begin, what they are, what to do."""

STATEMENTS = (
    (r"<{7}|={7}|>{7}", "a conflict of a merge was left in the file", "keep one of the two sides"),
    (r"//|;|/\*", "this is no comment of TOML", "begin comments with #"),
    (r"=", "there is no key before the '='", "write the key"),
    (r"$", "a table in { } goes on on the next line", "write it on one line, or as a [table]"),
    (r"\}", "there is a ',' before the '}'", "remove it"),
    (r"-\s", "a list of YAML begins here", "write a list as key = [1, 2], a stage as a table [stages.NAME]"),
    (r"[“”„‟‘’]", "typographic quotes do not make a key", 'write plain ones: "'),
    (r"[\x00-\x1f\x7f]", "a control character stands here", "remove it"),
    (r"[^\x00-\x7f]", "a key begins with a mark that bare keys do not have", 'put it into quotes: "key"'),
    (r"", "this is no key, no [table] and no comment", "write key = value, [table] or # comment"),
)
"""Lines that begin nothing."""

VALUES = (
    (r"\s*(#.*)?$", "there is no value after the '='", "write one, or remove the line to have the default"),
    (r"[“”„‟‘’«»]", "typographic quotes do not make a text", 'write plain ones: "'),
    (r"[\u00a0\u2000-\u200b\u202f\u3000\ufeff]", "a blank that is no space stands here", "write a space"),
    (r"(?i:true|yes|on)\b", "{word} is no TOML value", "write true"),
    (r"(?i:false|no|off)\b", "{word} is no TOML value", "write false"),
    (
        r"(?i:none|null|nil)\b|~\s*$",
        "TOML has no {word}",
        "remove the line: what is not given has its default",
    ),
    (r"\$|%\w+%", "{word}: variables are not filled in", "write the value itself, or give it with --set"),
    (r"[+-]?\.[0-9]", "{word} has no digit before the point", "write 0{word}"),
    (r"[+-]?[0-9]", "{word} is no number", _PLAIN_NUMBER),
    (r"\(", "TOML has no parentheses", "write a list as [1, 2]"),
    (r"", "{word} is no TOML value", 'a text goes in quotes: write "{bare}"'),
)
"""What stands where a value has to be."""

TAILS = (
    (r"\r", "a carriage return without a newline ends the line", "save the file with Unix line ends"),
    (r";\s*$", "there is a ';' after the value", "remove it"),
    (r",\s*$", "there is a ',' after the value", "remove it"),
    (r"//", "this is no comment of TOML", "begin comments with #"),
)
"""What stands after a value that is whole."""


def explain(text: str, found: str) -> Syntax:
    """What is wrong with `text`, of which tomli said `found`."""
    for pattern, message, remedy in WHOLE:
        if re.match(pattern, text):
            return Syntax(message, remedy, 1, 1)
    at = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", found)
    if at is None:
        return _unplaced(found)
    lines = tuple(text.split("\n"))
    line = int(at[1]) if at[1] else len(lines)
    column = int(at[2]) if at[2] else len(lines[-1]) + 1
    spot = _Spot(lines, line, column, found[: at.start()])
    for pattern, tell in _RULES:
        if re.search(pattern, spot.words):
            return tell(spot)
    return spot.told(f"no TOML: {spot.words}", "see https://toml.io for how it is written")


def _unplaced(found: str) -> Syntax:
    if "nested" in found or "recursion" in found:
        return Syntax("lists or tables lie too deep in each other", "close the brackets that are open")
    return Syntax("a number has too many digits", "write one below 2**63, or a text in quotes")


def _unclosed_text(spot: _Spot) -> Syntax:
    return spot.told(
        "the quote that begins the text is not closed on its line", "add it at the end of the text"
    )


def _unclosed_long_text(spot: _Spot) -> Syntax:
    text = "\n".join(spot.lines)
    opened = max(text.rfind('"""'), text.rfind("'''"))
    if opened < 0:
        return _unclosed_text(spot)
    line, column = text.count("\n", 0, opened) + 1, opened - (text.rfind("\n", 0, opened) + 1) + 1
    mark = text[opened : opened + 3]
    return spot.told(
        f"the text that begins with {mark} has no end",
        f"write {mark} where it ends",
        line=line,
        column=column,
    )


def _escape(spot: _Spot) -> Syntax:
    column = spot.before.rfind("\\") + 1 or spot.column
    return spot.told(
        "'\\' begins an escape in a text with double quotes",
        "put the text into single quotes, or write \\\\",
        column=column,
    )


def _no_equals(spot: _Spot) -> Syntax:
    key = spot.text.strip().split(maxsplit=1)[0].rstrip(":=")
    start = len(spot.text) - len(spot.text.lstrip()) + 1
    if key.startswith("--"):
        name = key.lstrip("-").partition("=")[0].replace("-", "_")
        return spot.told(f"{key} is an option of a command line", f"write {name} = VALUE", column=start)
    if key == "export":
        return spot.told(
            "this is a line of a shell", "write key = value; variables go into cluster.env", column=start
        )
    if spot.rest.startswith(":"):
        before = re.search(r"[^\s{,]+\s*$", spot.before)
        key = printable(before[0].strip()) if before else key
        return spot.told("there is a ':' where TOML has '='", f"write {key} = VALUE")
    if re.match(r"[\"']?[\w.-]*\s+[\w.-]+\s*=", spot.text.strip()):
        return spot.told("a key has a space in it", "join its words with '_'")
    return spot.told(
        f"there is no '=' after {printable(key)}", f"write {printable(key)} = VALUE, a text in quotes"
    )


def _value(spot: _Spot) -> Syntax:
    begins_a_line = not spot.before.strip() and re.match(r"$|\[|[\w.\"-]+\s*=", spot.rest)
    if begins_a_line or (spot.before.rstrip()[-1:] in "[,{" and not spot.rest.strip()):
        return _unclosed_list(spot)
    word = re.match(r"[^\s,\]}#]*", spot.rest)
    given = printable(word[0]) if word else ""
    for pattern, message, remedy in VALUES:
        if re.match(pattern, spot.rest):
            return spot.told(
                message.format(word=given), remedy.format(word=given, bare=given.strip("\"'“”‘’"))
            )
    raise AssertionError("the last pattern fits everything")


def _statement(spot: _Spot) -> Syntax:
    for pattern, message, remedy in STATEMENTS:
        if re.match(pattern, spot.rest):
            return spot.told(message, remedy)
    raise AssertionError("the last pattern fits everything")


def _tail(spot: _Spot) -> Syntax:
    if spot.text.lstrip().startswith("["):
        return spot.told("something follows the table's name", "write it on a line of its own")
    for pattern, message, remedy in TAILS:
        if re.match(pattern, spot.rest):
            return spot.told(message, remedy)
    number = re.search(r"([+-]?[0-9][0-9_.]*)$", spot.before)
    if number and re.match(r"[\w.,%+-]", spot.rest):
        return _number(spot, number)
    if re.search(r"[\"']\s*$", spot.before) and re.search(r"[\"']", spot.rest):
        return spot.told(
            "a quote stands inside the text", 'write \\" for it, or put the text into single quotes'
        )
    return spot.told("there is more on the line after the value", "write one key on a line")


def _number(spot: _Spot, begun: re.Match[str]) -> Syntax:
    tail = re.match(r"[\w.,%+:-]*", spot.rest)
    word = begun[1] + (tail[0] if tail else "")
    column = begun.start() + 1
    if re.fullmatch(r"0[0-9_]+", word):
        return spot.told(f"{word} begins with a zero", f"write {word.lstrip('0_') or '0'}", column=column)
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", word):
        return spot.told(f"{word} has commas", f"write {word.replace(',', '_')}", column=column)
    return spot.told(
        f"{word} is no number",
        "write plain digits such as 16384, or 1e-4; a text goes in quotes",
        column=column,
    )


def _twice(spot: _Spot) -> Syntax:
    """A key or table that was given before, told where it stands for the second time."""
    table = next((line for line in reversed(spot.lines[: spot.line - 1]) if re.match(r"\s*\[", line)), "")
    own = spot.text if spot.text.lstrip().startswith("[") else f"{table}\n{spot.text}"
    try:
        here = max(scan(own).items(), key=lambda item: (item[1], len(item[0])))
        before = scan("\n".join(spot.lines[: spot.line - 1]))
    except ScanError:
        return spot.told("a key or table is given twice", "keep one")
    path: KeyPath = here[0]
    column = len(spot.text) - len(spot.text.lstrip(" \t[")) + 1
    if path not in before:
        above = next((path[:size] for size in range(len(path), 0, -1) if path[:size] in before), path[:1])
        return spot.told(
            f"{dotted(above)} is a value already, to which nothing can be added",
            "write all its keys in one place",
            column=column,
        )
    first = "\n".join(spot.lines).count("\n", 0, before[path]) + 1
    return spot.told(f"{dotted(path)} is given twice, first on line {first}", "keep one", column=column)


def _unclosed_list(spot: _Spot) -> Syntax:
    kind, close = ("table", "}") if "table" in spot.words else ("list", "]")
    return spot.told(
        f"a {kind} is not closed, or a comma is missing in it", f"add ',' or '{close}' before this"
    )


def _header(spot: _Spot) -> Syntax:
    if "]" in spot.text:
        return spot.told(
            "a table's name has a space or another mark in it", "use letters, digits, '_', '-' and '.'"
        )
    return spot.told("the ']' after the table's name is missing", "add it")


def _illegal(spot: _Spot) -> Syntax:
    mark = spot.rest[:1]
    return spot.told(f"the character {shown(mark)} cannot stand in a text", "remove it")


_RULES = (
    (r"Illegal character '\\n'", _unclosed_text),
    (r"Unterminated string|Expected \"'\"|Expected '\"'", _unclosed_long_text),
    (r"Unescaped|Invalid hex|not a Unicode scalar", _escape),
    (r"Expected '='", _no_equals),
    (r"Invalid value", _value),
    (r"Invalid statement|initial character for a key", _statement),
    (r"Expected newline", _tail),
    (r"twice|overwrite|mutate|Duplicate|redefine", _twice),
    (r"Unclosed", _unclosed_list),
    (r"Expected '\]", _header),
    (r"Illegal character", _illegal),
)
"""What tomli says, by what explains it."""
