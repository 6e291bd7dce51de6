"""Checks of the weight files: which tensors they hold, in which shapes and format, as config.json wants them.

Only headers are read here, but for the two tables of a tied folder that stores both.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from onerec.errors import ConfigError
from onerec.model.expand import DTYPES
from onerec.model.hf_folder import EMBEDDING, HEAD, INDEX_NAME, SINGLE_NAME, read_json, weight_files
from onerec.model.tensor_file import stored_tensors
from onerec.model_test.check import Finding, Trial, verdict

if TYPE_CHECKING:
    from onerec.model_test.subject import Subject

ROWS_AT_A_TIME = 16_384
WEIGHT_FILES, CONFIG, NONE_MISSING, SHAPES = "weight files", "model sizes", "no tensor missing", "shapes"


def check_weight_files(subject: Subject) -> Finding:
    """Every file is there and whole, and an index says of every tensor where it is."""
    folder = subject.folder
    held = {path.name: set(stored_tensors(path)) for path in _told_files(folder)}
    faults, placed = _faults_of_index(folder, held), subject.placed
    total = sum(each.stored.end - each.stored.begin for each in placed.values())
    told = f"{len(placed):,} tensors, {total / 1e6:,.1f} MB, in {_some(sorted(held))}"
    stray = sorted(path.name for path in folder.glob("*.safetensors") if path.name not in held)
    if faults or not stray:
        return verdict(faults, told)
    return Finding("note", f"{told}; nobody reads {_some(stray)}")


def check_config(subject: Subject) -> Finding:
    """A model can be made of the configuration."""
    config, shapes = subject.config, subject.shapes
    parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
    return Finding(
        "ok",
        f"{parameters:,} parameters: {config.num_hidden_layers} layers of width {config.hidden_size:,}, "
        f"{config.vocab_size:,} rows, {'tied' if subject.is_tied else 'untied'} head",
    )


def check_missing(subject: Subject) -> Finding:
    """No tensor of the model is missing: it would start at random."""
    faults = [f"{name} is in no file" for name in subject.shapes if name not in subject.placed]
    return verdict(faults, f"all {len(subject.shapes):,} are there")


def check_unknown(subject: Subject) -> Finding:
    """No tensor that the model does not have; a tied head is another check's."""
    known = {*subject.shapes, HEAD}
    faults = [
        f"{name} in {subject.file_of(name)} is none of the model's"
        for name in subject.placed
        if name not in known
    ]
    return verdict(faults, "every tensor is one of the model's")


def check_shapes(subject: Subject) -> Finding:
    """Every tensor has the shape that the configuration gives to it."""
    faults = [
        f"{name} in {placed.file.name} has shape {placed.stored.shape}, config.json says {wanted}"
        for name, wanted in subject.shapes.items()
        if (placed := subject.placed.get(name)) and placed.stored.shape != wanted
    ]
    return verdict(faults, "as config.json says")


def check_tie(subject: Subject) -> Finding:
    """The head is stored exactly where it is a table of its own."""
    head = subject.placed.get(HEAD)
    if not subject.is_tied:
        return verdict(
            [] if head else [f"untied, but no file holds {HEAD}"], "embedding and head are two tables"
        )
    if head is None:
        return Finding("ok", "one table is embedding and head, and stored once")
    told = f"tie_word_embeddings is true, and {head.file.name} holds {HEAD} all the same"
    if _tables_are_equal(subject):
        return Finding("note", f"{told}, a second copy of {EMBEDDING}")
    return Finding("failed", f"{told}, other than {EMBEDDING}: readers would take one or the other")


def check_format(subject: Subject) -> Finding:
    """Every tensor is in the number format that the configuration names."""
    formats = Counter(placed.stored.dtype for placed in subject.placed.values())
    told = subject.settings.get("dtype", subject.settings.get("torch_dtype"))
    faults = [
        f"{name} in {placed.file.name} is {placed.stored.dtype}, and the model test knows {', '.join(DTYPES)}"
        for name, placed in subject.placed.items()
        if placed.stored.dtype not in DTYPES
    ]
    if faults:
        return verdict(faults, "")
    spelled = {name: str(DTYPES[name]).removeprefix("torch.") for name in formats}
    if told is None:
        return Finding("note", f"config.json names no dtype, the files hold {', '.join(spelled.values())}")
    faults = [
        f"{name} in {placed.file.name} is {spelled[placed.stored.dtype]}, config.json says {told}"
        for name, placed in subject.placed.items()
        if spelled[placed.stored.dtype] != told
    ]
    return verdict(faults, f"{told}, as config.json says")


def _told_files(folder: Path) -> tuple[Path, ...]:
    """The weight files; raises ConfigError for an index that is none and for a file that is not there."""
    index = folder / INDEX_NAME
    if index.exists():
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
            raise ConfigError(
                f"{INDEX_NAME} has no weight_map from tensors to files; fetch or convert it again"
            )
    return weight_files(folder)


def _faults_of_index(folder: Path, held: dict[str, set[str]]) -> list[str]:
    """What the index says otherwise than the files, by tensor."""
    if not (folder / INDEX_NAME).exists():
        return []
    places: dict[str, str] = read_json(folder / INDEX_NAME)["weight_map"]
    holders = defaultdict(list)
    for file, names in sorted(held.items()):
        for name in names:
            holders[name].append(file)
    faults = [
        f"{name} is in {' and '.join(holders[name]) or 'no file'}, "
        f"{INDEX_NAME} says {places.get(name, 'nothing')}"
        for name in sorted({*places, *holders})
        if holders[name] != [places.get(name)]
    ]
    if (folder / SINGLE_NAME).exists() and SINGLE_NAME not in held:
        faults.append(f"{SINGLE_NAME} and {INDEX_NAME} are both there: readers would take one or the other")
    return faults


@torch.no_grad()
def _tables_are_equal(subject: Subject) -> bool:
    embedding, head = (subject.placed.get(name) for name in (EMBEDDING, HEAD))
    if embedding is None or head is None or embedding.stored.shape != head.stored.shape:
        return False
    with safe_open(embedding.file, framework="pt") as one, safe_open(head.file, framework="pt") as other:
        rows, other_rows = one.get_slice(EMBEDDING), other.get_slice(HEAD)
        return all(
            torch.equal(rows[start : start + ROWS_AT_A_TIME], other_rows[start : start + ROWS_AT_A_TIME])
            for start in range(0, embedding.stored.shape[0], ROWS_AT_A_TIME)
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_trial = partial(Trial, "files")
TRIALS = (
    _trial(WEIGHT_FILES, check_weight_files),
    _trial(CONFIG, check_config),
    _trial(NONE_MISSING, check_missing, needs=(WEIGHT_FILES, CONFIG)),
    _trial("no tensor unknown", check_unknown, needs=(WEIGHT_FILES, CONFIG)),
    _trial(SHAPES, check_shapes, needs=(WEIGHT_FILES, CONFIG)),
    _trial("tied head", check_tie, needs=(WEIGHT_FILES, CONFIG)),
    _trial("number format", check_format, needs=(WEIGHT_FILES,)),
)
