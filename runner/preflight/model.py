"""Look at the base model's folder: config, weights, and whether its tokenizer agrees with the itemic ids.

Only small JSON files are read, and the tokenizer's vocabulary is counted without the tokenizers package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from onerec.vocab import SID_END, ItemicVocab, level_token
from runner.manifest.tables import Manifest
from runner.preflight.findings import Finding, error, warning
from runner.sizes import VOCAB_NAME, expanded_rows, init_stage, read_config

_COMPLETE = "give the complete Hugging Face folder of a Qwen3"


def check_base_model(manifest: Manifest) -> Iterator[Finding]:
    """The folder of model.base_model_dir, lengths, and every itemic id that the manifest writes down."""
    yield from _check_lengths(manifest)
    if manifest.model.base_model_dir is None:
        made = init_stage(manifest)
        if made is not None and made.tokenizer_dir is None:
            first = made.tokenizer_vocab_size
            rows = expanded_rows(manifest, first)
            yield from _check_rows(manifest, first, rows=rows, lacks="itemic tokens")
        return
    folder = Path(manifest.model.base_model_dir)
    if not folder.is_dir():
        remedy = "correct the path, relative to the manifest's folder" + (
            "; ~ is not expanded" if "~" in folder.parts else ""
        )
        yield error("model.base_model_dir", f"{folder} is not there", remedy)
        return
    yield from _check_config(manifest, folder)
    yield from _check_weights(folder)
    try:
        ids = token_ids(folder / "tokenizer.json")
    except (OSError, ValueError) as fault:
        yield error("model.base_model_dir", f"tokenizer.json cannot be read: {fault}", _COMPLETE)
        return
    yield from _check_ids(manifest, folder, ids)


def token_ids(path: Path) -> dict[str, int]:
    """Id of every token that a tokenizer.json knows; raises OSError or ValueError when it is none."""
    document = json.loads(path.read_bytes())
    try:
        vocab = document["model"]["vocab"]
        added = {token["content"]: token["id"] for token in document.get("added_tokens", [])}
        ids: dict[str, int] = {**vocab, **added}
    except (TypeError, KeyError) as fault:
        raise ValueError(f"{path} lists no vocabulary") from fault
    if not ids:
        raise ValueError(f"{path} lists no token")
    return ids


def _check_config(manifest: Manifest, folder: Path) -> Iterator[Finding]:
    place, config = "model.base_model_dir", read_config(folder)
    if not isinstance(config, dict):
        yield error(place, f"{folder} has no config.json that can be read", _COMPLETE)
        return
    wanted = manifest.model.model_class
    architectures = config.get("architectures")
    if config.get("model_type") != "qwen3" or wanted not in (architectures or [wanted]):
        found = architectures or config.get("model_type")
        yield error(place, f"{folder} is of {found}, not {wanted}", _COMPLETE)
    tied = bool(config.get("tie_word_embeddings", False))
    asked = manifest.model.use_tie_weights
    if asked is not None and asked != tied:
        yield warning(
            "model.use_tie_weights",
            f"{str(asked).lower()}, but {folder} was trained with tie_word_embeddings = {str(tied).lower()}",
            "remove it, unless you mean to change the model",
        )


def _check_lengths(manifest: Manifest) -> Iterator[Finding]:
    """Samples longer than the positions that the model was made for."""
    longest = _positions(manifest)
    for name, dataset in manifest.datasets.items():
        length = dataset.max_sample_length or dataset.max_length
        if longest is not None and length > longest:
            yield warning(
                f"datasets.{name}.max_sample_length",
                f"samples of {length} tokens are longer than the {longest} positions the model knows",
                f"write {longest}",
            )


def _positions(manifest: Manifest) -> int | None:
    made = init_stage(manifest)
    if made is not None:
        return made.max_position_embeddings
    config = read_config(Path(manifest.model.base_model_dir or ""))
    longest = config.get("max_position_embeddings") if isinstance(config, dict) else None
    return longest if isinstance(longest, int) else None


def _check_weights(folder: Path) -> Iterator[Finding]:
    index = folder / "model.safetensors.index.json"
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except FileNotFoundError:
        names = {"model.safetensors"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        yield error("model.base_model_dir", f"{index} cannot be read: {fault}", _COMPLETE)
        return
    missing = sorted(name for name in names if not (folder / str(name)).is_file())
    if missing:
        yield error("model.base_model_dir", f"{folder} lacks {', '.join(missing)}", _COMPLETE)


def _check_ids(manifest: Manifest, folder: Path, ids: dict[str, int]) -> Iterator[Finding]:
    """Itemic ids that the manifest writes down, against those that the tokenizer has or will have."""
    vocab = manifest.vocab
    expanded = level_token(0, 0) in ids
    first = ids[level_token(0, 0)] if expanded else max(ids.values()) + 1
    itemic = ItemicVocab(vocab.itemic_layer_n, vocab.vocab_size_per_layer, first)
    if expanded and ids.get(SID_END) != itemic.last_id:
        yield error(
            "model.base_model_dir",
            "it is expanded already, with other sizes than [vocab] has",
            "correct [vocab], or give the model as it was before",
        )
        return
    for name, dataset in manifest.datasets.items():
        given = dataset.itemic_id_range
        if given is not None and given != (first, itemic.last_id):
            yield error(
                f"datasets.{name}.itemic_id_range",
                f"{list(given)}, but with this tokenizer itemic ids are [{first}, {itemic.last_id}]",
                "correct it, or remove it: it is derived",
            )
    rows = _table_rows(folder)
    last = max(ids.values())
    if rows is not None and rows <= last:
        told = f"its table of {rows} rows has none for token {last} of its tokenizer"
        yield error("model.base_model_dir", told, _COMPLETE)
        return
    if rows is not None and not expanded:
        rows = max(expanded_rows(manifest, first), -(-rows // vocab.alignment) * vocab.alignment)
    # expand_vocab writes it, also for a model that has all its tokens already
    lacks = f"{VOCAB_NAME}, which tells its itemic ids" if expanded else "itemic tokens"
    known = expanded and (folder / VOCAB_NAME).is_file()
    yield from _check_rows(manifest, first, rows=rows, lacks="" if known else lacks)


def _table_rows(folder: Path) -> int | None:
    config = read_config(folder)
    rows = config.get("vocab_size") if isinstance(config, dict) else None
    return rows if isinstance(rows, int) else None


def _check_rows(manifest: Manifest, first: int, *, rows: int | None, lacks: str) -> Iterator[Finding]:
    """The first rows that stages train, in a table of `rows`; `lacks` is what an expansion would bring."""
    for name, stage in manifest.stages.items():
        lacks = "" if stage.kind == "expand_vocab" else lacks
        if stage.kind != "train":
            continue
        start, place = stage.start_optimize_embedding_index, f"stages.{name}.start_optimize_embedding_index"
        if start is not None and rows is not None and start >= rows:
            remedy = "remove it to train exactly the itemic rows, or choose a row of the table"
            yield error(place, f"{start} is outside the table of {rows} rows", remedy)
        elif start is not None and start != first:
            remedy = "remove it to train exactly the itemic rows"
            yield warning(place, f"{start}, but the first itemic id is {first}", remedy)
        if lacks:
            remedy = 'put a stage of kind "expand_vocab" before it'
            yield error(f"stages.{name}", f"the model it starts from has no {lacks}", remedy)
