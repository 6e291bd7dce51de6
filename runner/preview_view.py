"""A preview as text: each sample with its trained tokens marked, then the packs that hold them.

Nothing is printed here. The same pieces become plain text with marks, or styled text for a terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.manifest.faults import printable
from runner.report import counted, table

if TYPE_CHECKING:
    from rich.console import Console

OPEN, CLOSE = "⟦", "⟧"
"""Around trained tokens where there are no styles; a row's own are escaped."""
GUTTER = "  | "
LONGEST = 3000
"""Characters of a sample that are shown; a longer one loses its middle."""
RULER_CELLS = 80
ROWS_PER_PACK = 20
"""Documents of a pack that are listed."""
STYLES = {
    "heading": "bold",
    "faint": "dim",
    "text": "",
    "itemic": "cyan",
    "special": "magenta",
    "note": "yellow",
}
TRAINED = "reverse green"

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Piece:
    """Some characters of one kind; `trained` says so, None does not interrupt what is around it."""

    text: str
    kind: str = "text"
    trained: bool | None = False


def preview_text(preview: Document, *, has_styles: bool) -> str:
    """The preview as text; with styles it has the escape sequences of this terminal."""
    pieces = preview_pieces(preview)
    return styled_text(pieces) if has_styles else plain_text(pieces)


def preview_pieces(preview: Document) -> list[Piece]:
    """The whole preview, line by line."""
    return [
        *_opening(preview),
        *(piece for number in range(len(preview["samples"])) for piece in _sample(preview, number)),
        *(piece for number in range(len(preview["packs"])) for piece in _pack(preview, number)),
    ]


def plain_text(pieces: Iterable[Piece]) -> str:
    """The preview without styles: trained tokens stand between marks, also over several lines."""
    text, is_open = [], False
    for piece in pieces:
        if piece.trained is not None and piece.trained != is_open:
            text.append(OPEN if piece.trained else CLOSE)
            is_open = piece.trained
        text.append(piece.text)
    return "".join(text).rstrip("\n")


def styled_text(pieces: Iterable[Piece], console: Console | None = None) -> str:
    """The preview for a terminal: trained tokens in reverse, itemic and special tokens in colours."""
    from rich.console import Console  # noqa: PLC0415 - slow, and only for terminals
    from rich.text import Text  # noqa: PLC0415

    text = Text()
    for piece in pieces:
        trained = TRAINED if piece.trained else ""
        text.append(piece.text, style=f"{STYLES[piece.kind]} {trained}".strip())
    text.rstrip()
    console = console or Console()
    with console.capture() as captured:
        console.print(text, soft_wrap=True, end="")
    return captured.get()


def _opening(preview: Document) -> Iterator[Piece]:
    count, name = len(preview["samples"]), preview["dataset"]
    if preview.get("is_evaluated"):
        told = f"the first {count:,} that stage {preview['stage']} is evaluated on; none is trained on"
    elif preview["is_prepared"]:
        told = f"the first {count:,} that stage {preview['stage']} reads"
    else:
        looked, files = counted(preview["rows_looked_at"], "row"), counted(preview["files"], "file")
        told = f"not prepared with these settings: {counted(count, 'sample')} of {looked} spread over {files}"
    yield Piece(f"datasets.{name}: {told}\n", "heading")
    yield Piece("trained tokens look like ", "faint")
    yield Piece("this", trained=True)
    yield Piece("; characters that do not print are escaped, such as \\x1b\n", "faint")
    for row in preview.get("left_out", []):
        excerpt = f": {row['excerpt']}" if row["excerpt"] else ""
        line = f"left out: {row['file']}, row {row['row']}: {row['reason']}{excerpt}"
        yield Piece(printable(line) + "\n", "note")


def _sample(preview: Document, number: int) -> Iterator[Piece]:
    sample = preview["samples"][number]
    told = (
        f"sample {number + 1} of {len(preview['samples'])}: source {sample['source']}, uuid {sample['uuid']}"
    )
    yield Piece(f"\n{printable(told)}\n", "heading")
    counts = (
        f"{counted(sample['tokens'], 'token')}, {_of(sample['trained_tokens'], sample['tokens'])} trained"
    )
    counts += "; held out: evaluated, not trained on" if sample["is_held_out"] else ""
    yield Piece(printable(f"  {sample['file']}, row {sample['row']}; {counts}") + "\n")
    yield Piece(GUTTER, "faint")
    for piece in shortened([_as_piece(part) for part in sample["parts"]], LONGEST):
        yield from _with_gutters(piece)
    yield Piece("\n")


def _as_piece(part: Document) -> Piece:
    text = printable(part["text"], keep="\n")
    for mark in (OPEN, CLOSE):
        text = text.replace(mark, mark.encode("unicode_escape").decode())
    return Piece(text, part["kind"], part["trained"])


def _with_gutters(piece: Piece) -> Iterator[Piece]:
    """The piece with every line but its first set off from what is told about it."""
    first, *others = piece.text.split("\n")
    yield replace(piece, text=first)
    for line in others:
        yield Piece("\n", trained=None)
        yield Piece(GUTTER, "faint", trained=None)
        yield replace(piece, text=line)


def shortened(pieces: Sequence[Piece], limit: int) -> list[Piece]:
    """The pieces, but for their middle where they have more than `limit` characters together."""
    left_out = sum(len(piece.text) for piece in pieces) - limit
    if left_out <= 0:
        return list(pieces)
    head = _cut(pieces, limit - limit // 2)
    tail = [
        replace(piece, text=piece.text[::-1])
        for piece in _cut([replace(piece, text=piece.text[::-1]) for piece in reversed(pieces)], limit // 2)
    ][::-1]
    told = Piece(f"\n... {left_out:,} characters are left out here; --json has all tokens ...\n", "note")
    return [*head, told, *tail]


def _cut(pieces: Iterable[Piece], limit: int) -> list[Piece]:
    """The first `limit` characters."""
    kept = []
    for piece in pieces:
        if limit <= 0:
            break
        kept.append(replace(piece, text=piece.text[:limit]))
        limit -= len(piece.text)
    return kept


def _pack(preview: Document, number: int) -> Iterator[Piece]:
    pack, capacity = preview["packs"][number], preview["max_length"]
    ends = pack["cu_seqlens"]
    tokens, count = ends[-1], len(pack["uuids"])
    trained = sum(label >= 0 for label in pack["labels"])
    shown = {
        sample["document"]: at for at, sample in enumerate(preview["samples"], 1) if sample["pack"] == number
    }
    yield Piece(f"\npack {number + 1} of {len(preview['packs'])}", "heading")
    yield Piece(
        f": {counted(count, 'document')}, {_of(tokens, capacity)} of {capacity:,} tokens filled, "
        f"{capacity - tokens:,} padding, {_of(trained, tokens)} of the tokens trained\n"
    )
    yield Piece(f"  |{ruler(ends, capacity)}|\n", "faint")
    rows: list[Sequence[str]] = [("document", "sample", "begins at", "tokens", "trained", "source", "uuid")]
    rows += [_row(pack, document, shown.get(document)) for document in _listed(count, shown)]
    for line in table(rows):
        yield Piece(f"  {printable(line)}\n")
    if len(rows) - 1 < count:
        yield Piece(f"  and {count - len(rows) + 1:,} more documents\n")


def _listed(count: int, shown: Iterable[int]) -> list[int]:
    """The documents of a pack that are listed: its first ones, and those that are shown."""
    return sorted({*range(min(count, ROWS_PER_PACK)), *shown})


def _row(pack: Document, document: int, sample: int | None) -> tuple[str, ...]:
    start, end = pack["cu_seqlens"][document : document + 2]
    trained = sum(label >= 0 for label in pack["labels"][start:end])
    return (
        f"{document + 1}",
        "" if sample is None else f"{sample}",
        f"{start:,}",
        f"{end - start:,}",
        _of(trained, end - start),
        pack["sources"][document],
        pack["uuids"][document],
    )


def ruler(ends: Sequence[int], capacity: int, cells: int = RULER_CELLS) -> str:
    """A pack as a line of cells: the last digit of the document in the middle of each, a dot for padding."""
    line = []
    for cell in range(cells):
        at = (2 * cell + 1) * capacity // (2 * cells)
        document = sum(end <= at for end in ends[1:])
        line.append("." if document >= len(ends) - 1 else str((document + 1) % 10))
    return "".join(line)


def _of(part: int, whole: int) -> str:
    """`40 (42.1 %)`."""
    return f"{part:,} ({part / whole:.1%})".replace("%)", " %)")
