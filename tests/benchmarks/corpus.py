"""The synthetic corpus that stands for OneRec data in every benchmark.

The same seed gives the same rows on every machine and with every version of NumPy: bits come straight from
PCG64, whose stream is guaranteed, and all else is integers and tables. Row n does not depend on how many
rows are written, nor on how many go into a file.

40 % itemic histories (source `history`, segments): items a row log-normal with median 90, at most 522, under
   one to four headings such as "Watched to the end: ". Items are of a catalogue of 100,000, with 3 x 8192
   codes; a tenth of them makes up a third of what is read.
20 % general text (source `general`, segments): words a row log-normal with median 245, from a lexicon of some
   8,000 English words with Zipf frequencies, in sentences of 5 to 24 words with commas, capitals and numbers,
   four sentences a paragraph; every eighth paragraph is Chinese.
40 % chat about items (sources `chat_zh` and `chat_en`, messages): a system prompt in every third, one turn of
   question and answer in seven of ten and up to three in the others; items stand within the prose.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import uuid
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from onerec.folder import whole_folder
from tests.benchmarks import lexicon

LAYERS, CODES = 3, 8192
CATALOGUE = 100_000
MEDIAN_ITEMS, MOST_ITEMS = 90, 522
MEDIAN_WORDS, MOST_WORDS = 245, 4000
SPREAD = 0.6
"""Standard deviation of the logarithm of lengths."""
ROWS_PER_BLOCK = 1000
"""Rows that share one random stream."""
SCHEMA = pa.schema([(name, pa.string()) for name in ("uuid", "source", "metadata", "messages", "segments")])

Cells = dict[str, str | None]


def write_corpus(folder: str | Path, *, rows: int, seed: int, rows_per_file: int = 1000) -> Path:
    """Write `rows` rows as part-00000-of-0000N.parquet and file_list.json; returns the folder.

    The folder appears only when all of it is written; one of the same name is replaced.
    """
    files = math.ceil(rows / rows_per_file)
    names = [f"part-{number:05d}-of-{files:05d}.parquet" for number in range(files)]
    stream = itertools.islice(corpus_rows(seed), rows)
    with whole_folder(Path(folder)) as written:
        for name in names:
            write_rows(itertools.islice(stream, rows_per_file), written / name)
        (written / "file_list.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    return Path(folder)


def write_rows(rows: Iterable[Cells], path: Path) -> None:
    """Write rows to one parquet file."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), path)


def corpus_rows(seed: int) -> Iterator[Cells]:
    """The rows of a seed, without end: cells of JSON text as OpenOneRec stores them."""
    for block in itertools.count():
        draw = _Draw(seed, block)
        for number in range(block * ROWS_PER_BLOCK, (block + 1) * ROWS_PER_BLOCK):
            yield _row(draw, seed=seed, number=number)


def short_rows(seed: int) -> Iterator[Cells]:
    """Histories of 4 to 19 items without heading, without end: many samples for little work."""
    for block in itertools.count():
        draw = _Draw(seed, block)
        sizes = (draw.many(16, ROWS_PER_BLOCK) + np.uint64(4)).tolist()
        items = iter(_items(draw, sum(sizes)))
        for number, size in enumerate(sizes, start=block * ROWS_PER_BLOCK):
            text = "".join(itertools.islice(items, size))
            yield _cells("history", seed=seed, number=number, segments=[text])


def _row(draw: _Draw, *, seed: int, number: int) -> Cells:
    kind = draw.below(10)
    if kind < 4:
        return _cells("history", seed=seed, number=number, segments=_history(draw))
    if kind < 6:
        return _cells("general", seed=seed, number=number, segments=[_general_text(draw)])
    language = _CHINESE if kind < 8 else _ENGLISH
    return _cells(f"chat_{language.name}", seed=seed, number=number, messages=_chat(draw, language))


def _cells(
    source: str,
    *,
    seed: int,
    number: int,
    messages: list[dict[str, str]] | None = None,
    segments: list[str] | None = None,
) -> Cells:
    return {
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{number}")),
        "source": source,
        "metadata": _json({"number": number}),
        "messages": messages and _json(messages),
        "segments": segments and _json([{"type": "text", "text": text} for text in segments]),
    }


class _Draw:
    """Random integers of one block of rows."""

    def __init__(self, seed: int, block: int) -> None:
        self._bits = np.random.PCG64([seed, block])

    def below(self, limit: int) -> int:
        """One integer in [0, limit); limit is below 2**32."""
        return (self._bits.random_raw() >> 32) * limit >> 32

    def many(self, limit: int, count: int) -> np.ndarray:
        """`count` integers in [0, limit)."""
        return (self._bits.random_raw(count) >> 32) * np.uint64(limit) >> 32

    def one_of(self, values):
        """One of a sequence."""
        return values[self.below(len(values))]


def _history(draw: _Draw) -> list[str]:
    items = _items(draw, draw.one_of(_lengths(MEDIAN_ITEMS, MOST_ITEMS)))
    behaviours = min(1 + draw.below(4), len(items))
    size = math.ceil(len(items) / behaviours)
    return [
        draw.one_of(lexicon.BEHAVIOURS) + "".join(items[start : start + size]) + "\n"
        for start in range(0, len(items), size)
    ]


def _items(draw: _Draw, count: int) -> list[str]:
    """Spellings of items; popular ones come early in the catalogue and are drawn more often."""
    return _catalogue()[(draw.many(CATALOGUE, count) * draw.many(CATALOGUE, count)) // CATALOGUE].tolist()


def _general_text(draw: _Draw) -> str:
    left = draw.one_of(_lengths(MEDIAN_WORDS, MOST_WORDS))
    paragraphs = []
    while left > 0:
        if draw.below(8) == 0:
            sentences, words = _chinese_sentences(draw, 4), 60
        else:
            sentences, words = _english_paragraph(draw, left)
        paragraphs.append("".join(sentences))
        left -= words
    return "\n\n".join(paragraphs)


def _english_paragraph(draw: _Draw, most_words: int) -> tuple[list[str], int]:
    sizes = [size for size in draw.many(20, 4).tolist() if size < most_words] or [0]
    return [_english_sentence(draw, size + 5) for size in sizes], sum(sizes) + 5 * len(sizes)


def _english_sentence(draw: _Draw, count: int) -> str:
    words = _zipf_table()[draw.many(len(_zipf_table()), count)].tolist()
    words[0] = words[0].capitalize()
    detail = draw.below(16)
    if detail < 5:
        words[count // 2] += ","
    elif detail < 8:
        words[-2] = str(draw.one_of((7, 60, 1984, 2024, 35_000)) + draw.below(40))
    return " ".join(words) + (". " if detail else "? ")


def _chinese_sentences(draw: _Draw, count: int) -> list[str]:
    clauses = lexicon.CHINESE_CLAUSES
    return [f"{draw.one_of(clauses)}，{draw.one_of(clauses)}。" for _ in range(count)]


class _Chinese:
    name, questions, comma, end = "zh", lexicon.CHINESE_QUESTIONS, "、", "？"

    def sentences(self, draw: _Draw, count: int) -> list[str]:
        return _chinese_sentences(draw, count)


class _English:
    name, questions, comma, end = "en", lexicon.ENGLISH_QUESTIONS, ", ", "?"

    def sentences(self, draw: _Draw, count: int) -> list[str]:
        return [_english_sentence(draw, 8 + draw.below(12)) for _ in range(count)]


_CHINESE, _ENGLISH = _Chinese(), _English()


def _chat(draw: _Draw, language: _Chinese | _English) -> list[dict[str, str]]:
    turns = 1 if draw.below(10) < 7 else 2 + draw.below(2)
    system = draw.one_of(lexicon.SYSTEM_PROMPTS) if draw.below(3) == 0 else None
    messages = [("system", system)] if system else []
    for _ in range(turns):
        messages += [("user", _question(draw, language)), ("assistant", _answer(draw, language))]
    return [{"role": role, "content": content} for role, content in messages]


def _question(draw: _Draw, language: _Chinese | _English) -> str:
    watched = language.comma.join(_items(draw, 1 + draw.below(24)))
    prose = "".join(language.sentences(draw, draw.below(3)))
    return f"{prose}{watched}\n{draw.one_of(language.questions)}{language.end}"


def _answer(draw: _Draw, language: _Chinese | _English) -> str:
    named = _items(draw, 1 + draw.below(4))
    sentences = language.sentences(draw, len(named))
    return "".join(item + " " + sentence for item, sentence in zip(named, sentences, strict=True)).rstrip()


@cache
def _lengths(median: int, most: int) -> list[int]:
    """4096 quantiles of a log-normal length."""
    normal = statistics.NormalDist()
    return [
        min(most, round(median * math.exp(SPREAD * normal.inv_cdf((k + 0.5) / 4096)))) for k in range(4096)
    ]


@cache
def _zipf_table() -> np.ndarray:
    """65,536 places with each word as often as Zipf's law wants it, but at least once."""
    words = lexicon.english_words()
    weights = [1_000_000 // (rank + 3) for rank in range(len(words))]
    room = 65_536 - len(words)
    counts = [1 + weight * room // sum(weights) for weight in weights]
    counts[0] += 65_536 - sum(counts)
    return np.repeat(np.array(words, dtype=object), counts)


@cache
def _catalogue() -> np.ndarray:
    """Spellings of all items; the same for every seed."""
    codes = (np.random.PCG64(0).random_raw(CATALOGUE * LAYERS) % CODES).reshape(CATALOGUE, LAYERS).tolist()
    items = [f"<|sid_begin|><s_a_{a}><s_b_{b}><s_c_{c}><|sid_end|>" for a, b, c in codes]
    return np.array(items, dtype=object)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
