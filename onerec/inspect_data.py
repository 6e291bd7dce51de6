"""The inspect_data program: what preparing a dataset will meet, from every footer and a sample of its rows.

Every fault of a file is told at once, none ends the inspection; what only the sample knows comes as an
estimate with how far off it may be. Nothing is written but inspection.json.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onerec.config import InspectDataConfig
from onerec.data.preparation.trial import Trial, candidates, check_rows, spread, try_rows
from onerec.data.source.footers import Footers, listed, read_footers
from onerec.data.source.read import Footer
from onerec.data.source.sources import shown
from onerec.data.text.render import Renderer
from onerec.data.text.tokenizer import check_itemic_tokens
from onerec.errors import ConfigError, DataError
from onerec.expanded_tokenizer import expanded_tokenizer
from onerec.inspect_rows import rows_document, tokens_document
from onerec.progress import write_json_atomically

JSON_COLUMNS = ("messages", "segments", "metadata")
MOST_FILES = 40
"""Files that rows are taken from."""
TOLD = 5
"""Files, or rejects, that are named; the others are counted."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Reader:
    """A renderer, and the range of its itemic ids."""

    renderer: Renderer
    itemic_ids: tuple[int, int]


def inspect_data(config: InspectDataConfig) -> dict[str, object]:
    """Write inspection.json; returns how many files and rows there are. Faults of files are told in it."""
    locations, source_faults = listed(config.sources)
    footers = read_footers(locations)
    reader, fault = _reader(config)
    trials, faults = _sample(config, footers, reader)
    rows = sum(footer.rows for footer in footers.good.values())
    document = {
        **_of_footers(footers),
        **_faults(footers, faults, source_faults),
        "tokenizer_fault": fault,
        **rows_document(trials, rows=rows),
        **(
            tokens_document(trials, config.dataset, rows=rows, itemic_ids=reader.itemic_ids) if reader else {}
        ),
    }
    write_json_atomically(Path(config.output_dir) / "inspection.json", document)
    return {"files": document["files"], "rows": document["rows"]}


def _reader(config: InspectDataConfig) -> tuple[Reader | None, str]:
    """The dataset's renderer, or why there is none."""
    if config.tokenizer_dir is None:
        return None, ""
    dataset, vocab = config.dataset, config.vocab
    try:
        into = Path(config.output_dir) / "tokenizer"
        folder = expanded_tokenizer(Path(config.tokenizer_dir), vocab, into=into)
        renderer = Renderer(
            folder,
            only_assistant_loss=dataset.only_assistant_loss,
            add_think_pattern=dataset.add_think_pattern,
        )
        itemic = check_itemic_tokens(
            renderer.tokenizer,
            layer_n=vocab.itemic_layer_n,
            size_per_layer=vocab.vocab_size_per_layer,
            expected=dataset.itemic_id_range,
            folder=folder,
        )
    except ConfigError as fault:
        return None, str(fault)
    return Reader(renderer, (itemic.first_id, itemic.last_id)), ""


def _sample(
    config: InspectDataConfig, footers: Footers, reader: Reader | None
) -> tuple[list[Trial], dict[str, str]]:
    """Rows spread over the good files, and the faults of files that are broken behind their footers."""
    chosen = spread([name for name, footer in footers.good.items() if footer.rows], MOST_FILES)
    per_file = max(1, config.sample_rows // max(len(chosen), 1))
    trials: list[Trial] = []
    faults = {}
    for location in chosen:
        rows = candidates([location], files=1, rows_per_file=per_file)
        try:
            trials += try_rows(rows, reader.renderer, config.dataset) if reader else check_rows(rows)
        except DataError as fault:
            faults[location] = str(fault)
    return trials, faults


def _of_footers(footers: Footers) -> Document:
    """Counts over all files that can be read, and the schemas they have."""
    known = footers.good.values()
    return {
        "files": len(footers.good) + len(footers.faults) + footers.unread,
        "unread_files": footers.unread,
        "rows": sum(footer.rows for footer in known),
        "row_groups": sum(footer.row_groups for footer in known),
        "compressed_bytes": sum(footer.compressed_bytes for footer in known),
        "uncompressed_bytes": sum(footer.uncompressed_bytes for footer in known),
        "empty_files": _named([name for name, footer in footers.good.items() if not footer.rows]),
        "schemas": _schemas(footers.good),
    }


def form_of(schema: str) -> str:
    """How the columns of rows are written: `messages as JSON text, segments nested`.

    `schema` is a footer's: each column's name and Arrow type, one a line. Texts of any kind, also
    dictionary-encoded, are the same to whoever reads rows.
    """
    types = dict(line.split(": ", 1) for line in schema.splitlines() if ": " in line)
    return ", ".join(f"{name} {_written(types[name])}" for name in JSON_COLUMNS if name in types)


def _written(kind: str) -> str:
    """Whether a column of an Arrow type holds JSON text or nested values."""
    if kind.startswith(("list<", "large_list<", "fixed_size_list<", "struct<", "map<")):
        return "nested"
    return "as JSON text" if "string" in kind else f"as {kind}"


def _schemas(footers: Mapping[str, Footer]) -> list[Document]:
    """Each form of the columns with the files that have it, the most frequent first."""
    files: dict[str, list[str]] = defaultdict(list)
    for location, footer in footers.items():
        files[form_of(footer.schema)].append(location)
    return [
        {"schema": schema, **_named(locations)}
        for schema, locations in sorted(files.items(), key=lambda item: -len(item[1]))
    ]


def _faults(footers: Footers, deeper: Mapping[str, str], source_faults: Sequence[str]) -> Document:
    faults = {**footers.faults, **deeper}
    return {
        "source_faults": list(source_faults),
        "broken_files": len(faults),
        "broken": [faults[location] for location in sorted(faults)][:TOLD],
    }


def _named(locations: Sequence[str]) -> Document:
    """How many files, and the first of them."""
    return {"count": len(locations), "first": [shown(location) for location in sorted(locations)[:TOLD]]}
