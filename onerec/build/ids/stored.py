"""Codebooks on disk: codebooks.safetensors, the vectoriser that leads to them, and how good they are.

What is saved is enough to give new items ids; the ids of the items that were there stand in items.parquet.

Shapes: L levels, K codes, D vector width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from onerec.build.ids.codebook import Codebook
from onerec.build.ids.encoder import TextEncoder
from onerec.build.ids.text import TextSpace
from onerec.build.ids.vectors import Given, TextAndChoices, Vectoriser
from onerec.errors import ConfigError, DataError
from onerec.folder import whole_folder
from onerec.progress import write_json_atomically

FOLDER = "codebooks"
BOOKS, TENSORS, ABOUT, QUALITY = (
    "codebooks.safetensors",
    "vectoriser.safetensors",
    "vectoriser.json",
    "quality.json",
)


@dataclass(frozen=True)
class Codebooks:
    """What new items get their ids by."""

    books: tuple[Codebook, ...]
    vectoriser: Vectoriser


def save_codebooks(
    folder: Path, books: Sequence[Codebook], vectoriser: Vectoriser, *, about: dict[str, object]
) -> None:
    """Write codebooks/ into a folder, the whole of it or nothing."""
    tensors, words = _state(vectoriser)
    with whole_folder(folder / FOLDER) as place:
        save_file(
            {
                "centroids_LKD": np.stack([book.centroids_KD for book in books]),
                "is_used_LK": np.stack([book.is_used_K for book in books]),
            },
            place / BOOKS,
        )
        save_file(tensors, place / TENSORS)
        write_json_atomically(place / ABOUT, words)
        write_json_atomically(place / QUALITY, about)


def load_codebooks(folder: Path) -> Codebooks:
    """What save_codebooks wrote; raises ConfigError where nothing is, DataError where it is damaged."""
    place = folder / FOLDER
    if not place.is_dir():
        raise ConfigError(f"{place} is not there; name the output folder of a build_data stage that has it")
    try:
        tensors, state = load_file(place / BOOKS), load_file(place / TENSORS)
        about = json.loads((place / ABOUT).read_bytes())
        books = zip(tensors["centroids_LKD"], tensors["is_used_LK"], strict=True)
        return Codebooks(tuple(Codebook(*pair) for pair in books), _vectoriser(state, about))
    except (OSError, SafetensorError, ValueError, KeyError) as fault:
        raise DataError(f"{place} cannot be read ({fault}); build the data anew") from fault


def _state(vectoriser: Vectoriser) -> tuple[dict[str, Any], dict[str, object]]:
    if isinstance(vectoriser, TextAndChoices):
        space = vectoriser.space
        return {"weights_M": space.weights_M, "axes_MK": np.ascontiguousarray(space.axes_MK)}, {
            "kind": "text_and_choices",
            "words": space.words,
            "text_scale": vectoriser.text_scale,
            "choice_width": vectoriser.choice_width,
        }
    return {}, {
        "kind": "text_encoder" if isinstance(vectoriser, TextEncoder) else "embedding",
        **asdict(vectoriser),
    }


def _vectoriser(state: dict[str, Any], about: dict[str, Any]) -> Vectoriser:
    if about["kind"] == "embedding":
        return Given(about["width"])
    if about["kind"] == "text_encoder":
        return TextEncoder(about["folder"], about["digest"], about["width"])
    space = TextSpace(tuple(about["words"]), state["weights_M"], state["axes_MK"])
    return TextAndChoices(space, about["text_scale"], about["choice_width"])
