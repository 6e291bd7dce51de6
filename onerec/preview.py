"""The preview program: a few samples exactly as training reads them, and the packs that hold them.

From a prepared store they are the first that the stage reads; otherwise rows spread over the files are
rendered and packed here. Nothing is written but preview.json, and plans of a store, which training shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onerec.config import DataOrder, PreviewConfig
from onerec.data.loading.batch import Kinds, Pack, pack_arrays, pack_of
from onerec.data.loading.reader import PackReader
from onerec.data.order.holdout import held_out
from onerec.data.order.pack import best_fit
from onerec.data.order.plan import EpochPlan, open_plan
from onerec.data.order.selection import Planned, plan_training, plan_validation
from onerec.data.preparation.columns import uuid_hashes
from onerec.data.preparation.prepare import sample_limit
from onerec.data.preparation.trial import Trial, candidates, try_rows
from onerec.data.source.sources import locations_of, shown
from onerec.data.store.pool import Pool
from onerec.data.store.store import StoredSample
from onerec.data.text.label import IGNORED
from onerec.data.text.render import Renderer
from onerec.data.text.tokenizer import check_itemic_tokens, load_tokenizer
from onerec.errors import ConfigError, DataError
from onerec.expanded_tokenizer import expanded_tokenizer
from onerec.preview_text import PartReader
from onerec.progress import write_json_atomically

MOST_FILES = 64
"""Files that rows are taken from when there is no store."""
SPARE_ROWS = 8
"""Rows per file to fall back on when some are rejected."""
REJECTS_TOLD = 20

Document = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """Packs, and where in them the samples stand that are shown."""

    packs: tuple[Pack, ...]
    sources: tuple[str, ...]
    """Names of the sources that the packs number."""
    chosen: tuple[tuple[int, int, str, int | None], ...]
    """Pack, document in it, file and row of each sample."""
    facts: Document
    """What else there is to tell: rows looked at, rejects; whether all are evaluated only."""


def preview(config: PreviewConfig) -> dict[str, object]:
    """Write preview.json; returns how many samples and packs are in it.

    Raises ConfigError for a tokenizer or size that does not fit, DataError when no row can be trained on.
    """
    output_dir = Path(config.output_dir)
    folder = expanded_tokenizer(Path(config.tokenizer_dir), config.vocab, into=output_dir / "tokenizer")
    reader = _part_reader(config, folder)
    order = config.order
    found = _from_rows(config, folder, reader.itemic_ids) if order is None else _from_store(config, order)
    document = _document(config, found, reader)
    write_json_atomically(output_dir / "preview.json", document)
    return {"samples": len(document["samples"]), "packs": len(document["packs"])}


def _part_reader(config: PreviewConfig, folder: Path) -> PartReader:
    tokenizer = load_tokenizer(folder)
    itemic = check_itemic_tokens(
        tokenizer,
        layer_n=config.vocab.itemic_layer_n,
        size_per_layer=config.vocab.vocab_size_per_layer,
        expected=config.dataset.itemic_id_range,
        folder=folder,
    )
    return PartReader(tokenizer.backend_tokenizer, range(itemic.first_id, itemic.last_id + 1))


def _from_store(config: PreviewConfig, order: DataOrder) -> Shown:
    """The first samples of the dataset in the first packs that the stage reads of it, or evaluates."""
    assert config.store_dir is not None, "an order is given for a prepared store"
    is_evaluated = all(dataset.store_dir != config.store_dir for dataset in order.datasets)
    planned, own = _planned(order, config.store_dir, is_evaluated=is_evaluated)
    plan = open_plan(planned.paths[0])
    reader = PackReader(planned.pool.datasets, planned.paths, pad_to=None)
    packs: list[Pack] = []
    chosen: list[tuple[int, int, str, int | None]] = []
    for number in _first_packs(plan, own, samples=config.samples):
        for document, sample in enumerate(plan.pack(number).tolist()):
            if sample in own:
                found = planned.pool.sample(sample)
                chosen.append((len(packs), document, shown(found.file), found.row))
        packs.append(pack_of(reader[number]))
    if not packs:
        raise ConfigError(_nothing_read(order, config.store_dir))
    facts = {"is_evaluated": is_evaluated}
    return Shown(tuple(packs), planned.pool.sources, tuple(chosen[: config.samples]), facts)


def _planned(order: DataOrder, store_dir: str, *, is_evaluated: bool) -> tuple[Planned, range]:
    """Packs of the first epoch, or of the validation, and the numbers of the store's samples in them."""
    if is_evaluated:
        planned = plan_validation(order)
    else:
        planned = plan_training(Pool(order.datasets), order.model_copy(update={"num_epochs": 1}))
    stores = [dataset.store_dir for dataset in planned.pool.datasets] if planned else []
    if planned is None or store_dir not in stores:
        raise ConfigError(f"{store_dir}: its stage evaluates on nothing of it; see its prepare step")
    start, end = planned.pool.starts[stores.index(store_dir) :][:2].tolist()
    return planned, range(start, end)


def _first_packs(plan: EpochPlan, own: range, *, samples: int) -> list[int]:
    """Numbers of the packs that hold the first `samples` of these samples; all that hold any, if fewer."""
    is_own = (plan.samples >= own.start) & (plan.samples < own.stop)
    counts = np.add.reduceat(is_own, plan.offsets[:-1], dtype=np.int64)[plan.order]
    holding = np.flatnonzero(counts)
    enough = int(np.searchsorted(np.cumsum(counts[holding]), samples))
    numbers: list[int] = holding[: enough + 1].tolist()
    return numbers


def _nothing_read(order: DataOrder, store_dir: str) -> str:
    name = next((dataset.name for dataset in order.datasets if dataset.store_dir == store_dir), store_dir)
    return f"the first epoch of its stage reads nothing of dataset {name!r}; its mixture leaves it out"


def _from_rows(config: PreviewConfig, tokenizer_dir: Path, itemic_ids: range) -> Shown:
    """Rows spread over the files, until they give enough samples; packed by best fit."""
    sample_limit(config.dataset)
    renderer = Renderer(
        tokenizer_dir,
        only_assistant_loss=config.dataset.only_assistant_loss,
        add_think_pattern=config.dataset.add_think_pattern,
    )
    locations = sorted({location for source in config.sources for location in locations_of(source)})
    files = min(len(locations), config.samples, MOST_FILES)
    rows = candidates(locations, files=files, rows_per_file=-(-config.samples // files) + SPARE_ROWS)
    trials: list[Trial] = []
    for trial in try_rows(rows, renderer, config.dataset):
        trials.append(trial)
        if sum(len(one.samples) for one in trials) >= config.samples:
            break
    facts = {
        "files": len(locations),
        "rows_looked_at": len(trials),
        "left_out": [_left_out(trial) for trial in trials if not trial.samples],
    }
    return _packed(trials, config, facts, pad_id=renderer.pad_id, itemic_ids=itemic_ids)


def _packed(
    trials: Sequence[Trial], config: PreviewConfig, facts: Document, *, pad_id: int, itemic_ids: range
) -> Shown:
    """The samples of the rows as the loader would hand them over, one pack after the other."""
    names = tuple(sorted({trial.source for trial in trials if trial.samples}))
    samples = list(_stored(trials, names))[: config.samples]
    if not samples:
        told = "; ".join(f"{one['file']}, row {one['row']}: {one['reason']}" for one in facts["left_out"][:3])
        raise DataError(
            f"{', '.join(map(shown, config.sources))}: none of {len(trials)} rows gives a sample"
            f"{': ' if told else ''}{told}; correct the rows"
        )
    lengths = np.array([len(sample.input_ids) for sample in samples])
    numbers, count = best_fit(lengths, config.dataset.max_length)
    members = [np.flatnonzero(numbers == number).tolist() for number in range(count)]
    kinds = Kinds(len(names), itemic_ids)
    packs = tuple(
        pack_of(pack_arrays([samples[one] for one in group], kinds, pack=number, pad_id=pad_id, pad_to=None))
        for number, group in enumerate(members)
    )
    chosen = sorted(
        (one, number, document) for number, group in enumerate(members) for document, one in enumerate(group)
    )
    places = tuple((pack, document, samples[one].file, samples[one].row) for one, pack, document in chosen)
    return Shown(packs, names, places, facts)


def _stored(trials: Iterable[Trial], sources: Sequence[str]) -> Iterator[StoredSample]:
    """Samples of rows as a store gives them."""
    for trial in trials:
        for rendered in trial.samples:
            yield StoredSample(
                input_ids=np.array(rendered.input_ids, dtype=np.int32),
                spans=np.array(rendered.spans, dtype=np.int32).reshape(-1, 2),
                uuid=trial.uuid,
                source=sources.index(trial.source),
                file=shown(trial.record.file),
                row=trial.record.row,
            )


def _left_out(trial: Trial) -> Document:
    place = {"file": shown(trial.record.file), "row": trial.record.row, "source": trial.source}
    return {**place, "reason": trial.reason, "excerpt": trial.excerpt}


def _document(config: PreviewConfig, found: Shown, reader: PartReader) -> Document:
    """All of preview.json."""
    documents = [_pack_document(pack, found.sources) for pack in found.packs]
    fraction = 1.0 if found.facts.get("is_evaluated") else config.dataset.validation_fraction
    samples = [
        _sample_document(documents[pack], document, reader, fraction)
        | {"pack": pack, "file": file, "row": row}
        for pack, document, file, row in found.chosen
    ]
    return {
        "is_prepared": config.order is not None,
        "max_length": config.dataset.max_length if config.order is None else config.order.max_length,
        "samples": samples,
        "packs": documents,
        **found.facts,
    }


def _pack_document(pack: Pack, sources: Sequence[str]) -> Document:
    """One pack as `preview --json` shows it: arrays over its tokens, and one entry for each document."""
    numbers = pack.document_sources.tolist()[: pack.samples]
    return {
        "input_ids": pack.input_ids_T.tolist(),
        "labels": pack.labels_T.tolist(),
        "position_ids": pack.position_ids_T.tolist(),
        "cu_seqlens": pack.cu_seqlens.tolist(),
        "sources": [sources[number] for number in numbers],
        "uuids": list(pack.uuids),
    }


def _sample_document(pack: Document, document: int, reader: PartReader, fraction: float) -> Document:
    """One sample for people; `fraction` of the rows, or all, are held out for validation."""
    start, end = pack["cu_seqlens"][document : document + 2]
    ids, labels = pack["input_ids"][start:end], pack["labels"][start:end]
    return {
        "document": document,
        "source": pack["sources"][document],
        "uuid": pack["uuids"][document],
        "tokens": len(ids),
        "trained_tokens": sum(label != IGNORED for label in labels),
        "parts": reader.parts_of(ids, labels),
        "is_held_out": _is_held_out(pack["uuids"][document], fraction),
    }


def _is_held_out(uuid: str, fraction: float) -> bool:
    """Whether a row is evaluated; `held_out` itself knows no share of everything."""
    return fraction >= 1 or bool(held_out(uuid_hashes([uuid]), fraction)[0])
