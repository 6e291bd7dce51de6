"""Prepare a dataset: read, validate, render and tokenise every row once, into a store that training reads.

A store made of the same inputs is taken as it is; files done before a kill, or for another file list, are not
done again. What becomes of every row is told in summary.json and rejects.jsonl.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onerec.config import Dataset, PrepareConfig
from onerec.data.index import Index, build_index, save_index
from onerec.data.plan import PlanKey, plan_epoch
from onerec.data.render import Renderer
from onerec.data.report import FileReport, Options, merged
from onerec.data.sources import DataFile, find_files
from onerec.data.store import FORMAT, Store, StorePaths, read_meta
from onerec.data.summary import data_summary, duplicate_count, packing_summary
from onerec.data.tokenise import Recipe, Task, tell, tokenise_files
from onerec.data.tokenizer import check_itemic_tokens, tokenizer_digest, tokenizer_files_digest
from onerec.data.write import TokenPaths
from onerec.errors import ConfigError, DataError
from onerec.progress import write_json_atomically

REJECTS_SHOWN = 3


@dataclass(frozen=True)
class Inputs:
    """What a store is made of, and the names that follow from it."""

    files: tuple[DataFile, ...]
    options: Options
    base: str
    """Digest of the tokenizer and the options."""
    request: str
    """Digest of what was asked for, known without loading the tokenizer."""

    def file_key(self, file: DataFile) -> str:
        """Name of one file's tokens."""
        return digest(self.base, file.identity)

    @property
    def key(self) -> str:
        """Name of the store's index."""
        return digest(self.base, [file.identity for file in self.files])

    @property
    def fingerprint(self) -> str:
        """What the order of samples depends on: it stays when the files are moved as they are."""
        return digest(self.base, [file.content for file in self.files])


def prepare(config: PrepareConfig) -> dict[str, object]:
    """Make or reuse the store in `config.output_dir`; returns its summary, with `reused` and `seconds`.

    Raises DataError for missing, empty or unreadable data and for too many rejects, ConfigError for a
    tokenizer or a size that does not fit.
    """
    began = time.monotonic()
    paths = StorePaths(Path(config.output_dir))
    paths.tokens.mkdir(parents=True, exist_ok=True)
    limit = sample_limit(config.dataset)
    files = find_files(config.sources)
    request = _request(config, files, limit)
    summary = _kept_summary(paths, request)
    reused = summary is not None
    if summary is not None:
        tell(f"taking the prepared {summary['samples']:,} samples in {paths.root} as they are")
        check_rejects(summary, config.dataset.max_reject_fraction, paths)
    else:
        summary = _build(config, paths, files=files, limit=limit, request=request)
    summary = _with_packing(summary, config.dataset, paths)
    return {**summary, "reused": reused, "seconds": time.monotonic() - began}


def _kept_summary(paths: StorePaths, request: str) -> dict[str, Any] | None:
    """Summary of the store that is there, if it was made for this request and belongs to it."""
    meta = read_meta(paths)
    if meta is None or meta["request"] != request or not paths.summary.is_file():
        return None
    if not all((paths.tokens / entry["tokens"]).is_file() for entry in meta["files"]):
        return None
    summary: dict[str, Any] = json.loads(paths.summary.read_bytes())
    return summary if summary["key"] == meta["key"] else None


def sample_limit(dataset: Dataset) -> int:
    """Longest sample in tokens; raises ConfigError when one could be longer than a pack."""
    limit = dataset.max_sample_length or dataset.max_length
    if limit > dataset.max_length:
        raise ConfigError(
            f"max_sample_length {limit} is above max_length {dataset.max_length}: such a sample "
            "fits no pack; lower max_sample_length or raise max_length"
        )
    return limit


def digest(*parts: object) -> str:
    """A name of 16 hexadecimal digits for JSON values."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def check_rejects(summary: Mapping[str, Any], limit: float, paths: StorePaths) -> None:
    """Raise DataError with the first rejects when more than this share of the rows was rejected."""
    rows, rejected = summary["rows"], summary["rejected"]
    if rejected <= limit * rows:
        return
    with paths.rejects.open(encoding="utf-8") as lines:
        first = [json.loads(line) for line, _ in zip(lines, range(REJECTS_SHOWN), strict=False)]
    examples = "".join(
        f"\n  {reject['file']}, row {reject['row']}: {reject['reason']}: {reject['excerpt']}"
        for reject in first
    )
    raise DataError(
        f"{rejected:,} of {rows:,} rows were rejected, max_reject_fraction is {limit}; correct them or raise "
        f"it; all of them are in {paths.rejects}, the first are:{examples}"
    )


def _request(config: PrepareConfig, files: Sequence[DataFile], limit: int) -> str:
    dataset = config.dataset
    return digest(
        FORMAT,
        tokenizer_files_digest(Path(config.tokenizer_dir)),
        [dataset.only_assistant_loss, dataset.add_think_pattern, dataset.overlong, limit],
        [config.vocab.itemic_layer_n, config.vocab.vocab_size_per_layer, dataset.itemic_id_range],
        [file.identity for file in files],
    )


def _build(
    config: PrepareConfig, paths: StorePaths, *, files: tuple[DataFile, ...], limit: int, request: str
) -> dict[str, Any]:
    renderer = Renderer(
        config.tokenizer_dir,
        only_assistant_loss=config.dataset.only_assistant_loss,
        add_think_pattern=config.dataset.add_think_pattern,
    )
    options = _options(config, renderer, limit)
    base = digest(FORMAT, tokenizer_digest(renderer.tokenizer), asdict(options))
    inputs = Inputs(files=files, options=options, base=base, request=request)
    tasks = [_task(file, inputs, paths) for file in files]
    recipe = Recipe(config.tokenizer_dir, options, config.dataset.num_processes)
    reports = tokenise_files(tasks, recipe, renderer, paths.root)
    _join([task.paths.rejects for task in tasks], paths.rejects)
    report = merged(reports)
    counts = {"rows": report.rows, "rejected": report.total().rejects.total()}
    check_rejects(counts, config.dataset.max_reject_fraction, paths)
    if not report.total().samples:
        raise DataError(
            f"{', '.join(config.sources)}: no sample: {report.rows} rows, {counts['rejected']} rejected, "
            f"{report.total().overlong_dropped} too long; correct `sources` or max_sample_length"
        )
    return _commit(inputs, paths, renderer=renderer, tasks=tasks, reports=reports)


def _options(config: PrepareConfig, renderer: Renderer, limit: int) -> Options:
    vocab = check_itemic_tokens(
        renderer.tokenizer,
        layer_n=config.vocab.itemic_layer_n,
        size_per_layer=config.vocab.vocab_size_per_layer,
        expected=config.dataset.itemic_id_range,
        folder=Path(config.tokenizer_dir),
    )
    return Options(
        only_assistant_loss=config.dataset.only_assistant_loss,
        add_think_pattern=config.dataset.add_think_pattern,
        overlong=config.dataset.overlong,
        max_sample_length=limit,
        itemic_ids=(vocab.first_id, vocab.last_id),
    )


def _task(file: DataFile, inputs: Inputs, paths: StorePaths) -> Task:
    return Task(file.location, file.size, TokenPaths.of(paths.tokens, inputs.file_key(file)))


def _join(parts: Sequence[Path], whole: Path) -> None:
    """Write the files one after the other to one that is replaced at once."""
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target)
    temporary.replace(whole)


def _commit(
    inputs: Inputs,
    paths: StorePaths,
    *,
    renderer: Renderer,
    tasks: Sequence[Task],
    reports: Sequence[FileReport],
) -> dict[str, Any]:
    """Write index and summary, then meta.json, which makes them the store; then clear the last one away."""
    report = merged(reports)
    sources = [name for name, counts in report.sources.items() if counts.samples]
    stored = [(task.paths.tokens, part) for task, part in zip(tasks, reports, strict=True)]
    index, hashes = build_index(stored, sources)
    save_index(index, paths.index(inputs.key))
    counts = data_summary(report, index.lengths, files=len(tasks), duplicates=duplicate_count(hashes))
    summary = {"key": inputs.key, **counts}
    write_json_atomically(paths.summary, summary)
    before = read_meta(paths)
    meta = _meta(inputs, renderer=renderer, sources=sources, tasks=tasks, index=index)
    write_json_atomically(paths.meta, meta)
    _sweep(
        paths,
        tasks,
        key=inputs.key,
        same_data=before is not None and before["fingerprint"] == meta["fingerprint"],
    )
    tell(_account(summary))
    return summary


def _meta(
    inputs: Inputs, *, renderer: Renderer, sources: Sequence[str], tasks: Sequence[Task], index: Index
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "key": inputs.key,
        "request": inputs.request,
        "fingerprint": inputs.fingerprint,
        "options": asdict(inputs.options),
        "sources": list(sources),
        "pad_id": renderer.pad_id,
        "document_end_id": renderer.document_end_id,
        "samples": len(index.lengths),
        "tokens": int(index.lengths.sum(dtype="int64")),
        "files": [{"file": task.location, "tokens": task.paths.tokens.name} for task in tasks],
    }


def _sweep(paths: StorePaths, tasks: Sequence[Task], *, key: str, same_data: bool) -> None:
    """Remove tokens, index and plans that belong to no current store, and what a kill left half done."""
    current = {path.name for task in tasks for path in asdict(task.paths).values()}
    for path in paths.tokens.iterdir():
        if path.name not in current:
            path.unlink()
    for folder in [*paths.root.glob("index-*"), *paths.root.glob(".index-*")]:
        if folder != paths.index(key):
            shutil.rmtree(folder)
    if not same_data:
        shutil.rmtree(paths.plans, ignore_errors=True)


def _account(summary: Mapping[str, Any]) -> str:
    sources = sum(counts["samples"] > 0 for counts in summary["sources"].values())
    text = (
        f"{summary['samples']:,} samples, {summary['tokens']:,} tokens "
        f"({summary['trained_tokens']:,} trained, {summary['itemic_tokens']:,} itemic) "
        f"of {sources} sources; {summary['rejected']:,} rows rejected"
    )
    for count, what in (
        (summary["overlong_dropped"], "rows too long and dropped"),
        (summary["overlong_split"], "long texts split"),
        (summary["duplicate_uuids"], "rows with the uuid of another row, kept"),
    ):
        text += f", {count:,} {what}" if count else ""
    return text


def _with_packing(summary: dict[str, Any], dataset: Dataset, paths: StorePaths) -> dict[str, Any]:
    """The summary with the packs of the first epoch, worked out anew when a size or the seed changed."""
    store = Store(paths.root)
    seed, window = dataset.shuffle_seed or 0, dataset.local_shuffle_buffer_size
    key = PlanKey(store.fingerprint, seed, dataset.max_length, window)
    if summary.get("packing", {}).get("plan") != key.digest:
        plan = plan_epoch(store.lengths, key, epoch=0)
        packing = packing_summary(plan, tokens=summary["tokens"], max_length=dataset.max_length)
        summary = {**summary, "packing": {"plan": key.digest, **packing}}
        write_json_atomically(paths.summary, summary)
    packing = summary["packing"]
    tell(
        f"{packing['packs_per_epoch']:,} packs of {dataset.max_length:,} tokens an epoch, padding "
        f"{packing['padding_fraction']:.2%}"
    )
    return summary
