"""Amazon reviews in their public layouts of 2014, 2018 and 2023: a folder with a review file and meta files.

Which file is what is told by its first line, not by its name. Lines are read one by one, so that memory holds
only numbers of events and the described products that have a review. Nothing is downloaded.
"""

from __future__ import annotations

import ast
import gzip
import html
import json
import re
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa

from onerec.build.interactions import Item
from onerec.build.sources.gather import NO_TIME, Raw, RawEvents
from onerec.build.sources.oddities import EXAMPLES, Oddities, Rows
from onerec.errors import ConfigError, DataError

LICENCE = (
    "Amazon reviews (McAuley Lab, UC San Diego): say in publications that you used them and cite the paper "
    "of your release: J. McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015; "
    "J. Ni, J. Li and J. McAuley, Justifying Recommendations, EMNLP 2019; "
    "Y. Hou et al., Bridging Language and Items for Retrieval and Recommendation, arXiv:2403.03952, 2024"
)
MAX_LINE_BYTES = 8 * 2**20  # far above any review or product; stops a hostile archive from filling the memory
MILLISECONDS = 1000
SUFFIXES = (".json", ".jsonl", ".csv", ".json.gz", ".jsonl.gz", ".csv.gz")
CSV_HEADER = ["user_id", "parent_asin", "rating", "timestamp"]
IDS_IN_LINE = re.compile(rb"""["'](?:parent_)?asin["']\s*:\s*["']([^"']+)["']""")
WANTED = (
    "a folder with one file of reviews (reviewerID, asin, overall, unixReviewTime; or user_id, parent_asin, "
    "rating, timestamp; JSON lines, or CSV with this header) and one or more meta files (JSON lines, or the "
    "Python literals of 2014, with asin or parent_asin), each as it is published, .gz or not"
)
Row = dict[str, object]


@dataclass(frozen=True)
class ReviewKeys:
    """Names of what a review has, and its unit of time."""

    user: str
    item: str
    rating: str
    time: str
    per_second: int


OLD = ReviewKeys("reviewerID", "asin", "overall", "unixReviewTime", 1)
"""Of 2014 and 2018."""
NEW = ReviewKeys("user_id", "parent_asin", "rating", "timestamp", MILLISECONDS)
"""Of 2023."""


def read(path: str | None, oddities: Oddities) -> Raw:
    """Reviews and the products that they are about.

    Products without a review are left out: a meta file describes all of a shop, of which the reviews are a
    part. Raises ConfigError when the folder does not hold what it should, DataError when a file is damaged.
    """
    reviews, metas = _layout(path)
    events = _events(reviews, oddities)
    wanted = set(events.items_E.dictionary.to_pylist())
    rows = Rows()
    items: list[Item] = []
    for meta in metas:
        rows.begin(meta.name, len(items))
        items += _items(meta, wanted, oddities)
    return Raw(events=events, items=tuple(items), item_rows=rows)


def _layout(path: str | None) -> tuple[Path, list[Path]]:
    """The file of reviews and the meta files in the folder."""
    if path is None:
        raise ConfigError(f'source = "amazon-reviews" needs path, {WANTED}')
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(f"path {path} is no folder; name {WANTED}")
    files = [file for file in sorted(folder.iterdir()) if file.name.endswith(SUFFIXES) and file.is_file()]
    kinds = {file: _kind(file) for file in files}
    reviews = [file for file, kind in kinds.items() if kind == "reviews"]
    metas = [file for file, kind in kinds.items() if kind == "meta"]
    there = ", ".join(f"{file.name} ({kind or 'unknown'})" for file, kind in kinds.items()) or "no such file"
    if len(reviews) > 1:
        names = ", ".join(file.name for file in reviews)
        raise ConfigError(
            f"path {path} is ambiguous: {names} all hold reviews; leave one of them in the folder"
        )
    if not reviews or not metas:
        lacking = "reviews" if not reviews else "meta file, which describes the products"
        raise ConfigError(f"path {path} has no {lacking}; it has {there}; name {WANTED}")
    return reviews[0], metas


def _kind(path: Path) -> str | None:
    """Reviews or meta, by the first line; None for neither."""
    first = next(_lines(path), b"")
    if first.decode(errors="replace").strip().split(",")[:4] == CSV_HEADER:
        return "reviews"
    row = _json(first) or _literal(first)
    if row is None:
        return None
    if _review_keys(row) is not None:
        return "reviews"
    return "meta" if "asin" in row or "parent_asin" in row else None


def _review_keys(row: Row) -> ReviewKeys | None:
    return next((keys for keys in (OLD, NEW) if keys.user in row and keys.item in row), None)


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file, .gz or not; raises DataError when it is damaged or a line is too long."""
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{path} has a line of more than {MAX_LINE_BYTES:,} bytes; fetch it again"
                    )
                yield line
    except (EOFError, OSError, zlib.error) as fault:
        raise DataError(f"{path} is damaged ({fault}); fetch it again") from fault


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _json(line: bytes) -> Row | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _literal(line: bytes) -> Row | None:
    """A line of the meta files of 2014, which are literals of Python."""
    try:
        found = ast.literal_eval(line.decode().strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return found if isinstance(found, dict) else None


@dataclass
class _Names:
    """Numbers of names, in order of their first use; -1 for none."""

    numbers: dict[str, int] = field(default_factory=dict)
    codes_E: array[int] = field(default_factory=lambda: array("i"))

    def add(self, name: object) -> None:
        is_name = isinstance(name, str) and name
        self.codes_E.append(self.numbers.setdefault(name, len(self.numbers)) if is_name else -1)  # type: ignore[arg-type]

    def column(self) -> pa.DictionaryArray:
        codes_E = np.asarray(self.codes_E, dtype=np.int32)
        indices = pa.array(codes_E, mask=codes_E < 0)
        return pa.DictionaryArray.from_arrays(indices, pa.array(list(self.numbers), pa.string()))


def _events(path: Path, oddities: Oddities) -> RawEvents:
    users, items = _Names(), _Names()
    times_E, ratings_E = array("q"), array("f")
    bad: list[int] = []
    for number, review in enumerate(_reviews(path), start=1):
        if review is None:
            bad.append(number)
            continue
        users.add(review[0])
        items.add(review[1])
        ratings_E.append(review[2])
        times_E.append(review[3])
    _refuse(bad, path, "reviews", oddities)
    return RawEvents(
        users_E=users.column(),
        items_E=items.column(),
        times_E=np.asarray(times_E, dtype=np.int64),
        ratings_E=np.asarray(ratings_E, dtype=np.float32),
        rows=Rows([path.name], [0]),
    )


def _refuse(bad: list[int], path: Path, what: str, oddities: Oddities) -> None:
    oddities.fault(
        count=len(bad),
        what=f"lines of {path.name} that are no {what}",
        examples=(f"line {number}" for number in bad[:EXAMPLES]),
        remedy="correct or remove them, or fetch the file again",
    )


def _reviews(path: Path) -> Iterator[tuple[object, object, float, int] | None]:
    """User, product, rating and seconds of each review; None for a line that is none."""
    lines = _lines(path)
    first = next(lines, b"")
    if _json(first) is None:
        for line in lines:
            yield _csv_review(line)
        return
    keys = _review_keys(_json(first) or {})
    assert keys is not None, "looked at when the file was recognised"
    yield _review(_json(first), keys)
    for line in lines:
        yield _review(_json(line), keys)


def _csv_review(line: bytes) -> tuple[object, object, float, int] | None:
    cells = line.decode(errors="replace").rstrip("\r\n").split(",")
    if len(cells) < len(CSV_HEADER):
        return None
    user, item, rating, time = cells[:4]
    return _review({"user_id": user, "parent_asin": item, "rating": rating, "timestamp": time}, NEW)


def _review(row: Row | None, keys: ReviewKeys) -> tuple[object, object, float, int] | None:
    if row is None:
        return None
    rating, time = row.get(keys.rating), row.get(keys.time)
    try:
        seconds = NO_TIME if time in {None, ""} else int(float(str(time))) // keys.per_second
        return row.get(keys.user), row.get(keys.item), float(str(rating)) if rating else float("nan"), seconds
    except (ValueError, OverflowError):
        return None


def _items(path: Path, wanted: set[str], oddities: Oddities) -> list[Item]:
    """Described products that are wanted."""
    parse = _literal if _json(next(_lines(path), b"")) is None else _json
    items: list[Item] = []
    bad: list[int] = []
    left_out = 0
    for number, line in enumerate(_lines(path), start=1):
        ids = IDS_IN_LINE.findall(line)
        if ids and not any(found.decode(errors="replace") in wanted for found in ids):
            left_out += 1  # not parsed: most products of a shop are in no set of reviews
            continue
        row = parse(line)
        item = None if row is None else _item(row)
        if item is None:
            bad.append(number)
        elif item.pid in wanted:
            items.append(item)
        else:
            left_out += 1
    _refuse(bad, path, "products", oddities)
    if left_out:
        oddities.note(f"products of {path.name} without a review here: {left_out:,}; left out")
    return items


def _item(row: Row) -> Item | None:
    pid = row.get("parent_asin") or row.get("asin")
    if not isinstance(pid, str):
        return None
    kinds = [*_texts(row.get("main_category")), *_texts(row.get("categories") or row.get("category"))]
    told = [*_texts(row.get("brand")), *_texts(row.get("description"))]
    return Item(
        pid=pid,
        title=" ".join(_texts(row.get("title"))),
        categories=tuple(dict.fromkeys(kinds)),
        text=". ".join(text.rstrip(".") for text in told),
    )


def _texts(value: object) -> list[str]:
    """Texts in a text or in lists of lists of them, HTML entities resolved."""
    if isinstance(value, str):
        text = " ".join(html.unescape(value).split())
        return [text] if text else []
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return []
