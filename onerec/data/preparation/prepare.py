"""Prepare a dataset: read, validate, render and tokenise every row once, into a store that training reads.

A store made of the same inputs is taken as it is; files done before a kill, by another run or for another
file list are not done again. On several hosts each rank does its share of the files, and rank 0 all else.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onerec.config import Dataset, PrepareConfig
from onerec.data.preparation.commit import Facts, check_rejects, commit
from onerec.data.preparation.crew import Recipe, Task, crew_context
from onerec.data.preparation.packing import with_packing
from onerec.data.preparation.ranks import Ranks, joined
from onerec.data.preparation.report import Options
from onerec.data.preparation.reuse import take_from_siblings
from onerec.data.preparation.tally import Counts
from onerec.data.preparation.tokenise import SMALL_BYTES, tell, tokenise_files
from onerec.data.preparation.write import TokenPaths
from onerec.data.source.sources import DataFile, find_files
from onerec.data.store.store import FORMAT, Store, StorePaths, read_meta
from onerec.data.text.render import Renderer
from onerec.data.text.tokenizer import check_itemic_tokens, tokenizer_digest, tokenizer_files_digest
from onerec.distributed import environment
from onerec.errors import ConfigError, DataError


def prepare(config: PrepareConfig) -> dict[str, object]:
    """Make or reuse the store in `config.output_dir`; returns its summary, with `reused` and `seconds`.

    Raises DataError for missing, empty or unreadable data and for too many rejects, ConfigError for a
    tokenizer or a size that does not fit, StorageError for a disk that fails; on every rank the same.
    """
    with joined(environment()) as ranks:
        return _prepare(config, ranks)


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


def _prepare(config: PrepareConfig, ranks: Ranks) -> dict[str, object]:
    began = time.monotonic()
    job = _Job(config)
    work = ranks.on_main(job.plan)
    counts = Counts()
    if work is not None:
        tasks, options = _tasks(work["files"], job.paths), Options.from_json(work["options"])
        recipe = Recipe(config.tokenizer_dir, options, config.dataset.num_processes)
        counts = tokenise_files(tasks, recipe, ranks, output_dir=job.paths.root, renderer=job.renderer)
    summary = ranks.on_main(lambda: job.finish(counts, seconds=time.monotonic() - began))
    return {**summary, "reused": work is None, "seconds": time.monotonic() - began}


def _tasks(files: Sequence[tuple[str, int, str]], paths: StorePaths) -> list[Task]:
    return [Task(location, size, TokenPaths.of(paths.tokens, key)) for location, size, key in files]


@dataclass(frozen=True)
class _Inputs:
    """What a store is made of, and the names that follow from it."""

    files: tuple[DataFile, ...]
    options: Options
    base: str
    """Digest of the tokenizer and the options."""
    request: str
    """Digest of what was asked for, known without loading the tokenizer."""

    @property
    def work(self) -> list[tuple[str, int, str]]:
        """Location, bytes and key of each file; the key is the name of its tokens."""
        return [(file.location, file.size, digest(self.base, file.identity)) for file in self.files]


class _Job:
    """What rank 0 does besides tokenising; the other ranks know it by its paths alone."""

    def __init__(self, config: PrepareConfig) -> None:
        self._config = config
        self.paths = StorePaths(Path(config.output_dir))
        self.renderer: Renderer | None = None
        self._inputs: _Inputs | None = None
        self._summary: dict[str, Any] = {}
        self._taken = 0

    def plan(self) -> dict[str, Any] | None:
        """The files to be prepared and how; None when the store that is there is the one that is wanted."""
        config, paths = self._config, self.paths
        paths.tokens.mkdir(parents=True, exist_ok=True)
        limit = sample_limit(config.dataset)
        files = find_files(config.sources)
        request = _request(config, files, limit)
        kept = _kept_summary(paths, request)
        if kept is not None:
            tell(f"taking the prepared {kept['samples']:,} samples in {paths.root} as they are")
            check_rejects(kept, config.dataset.max_reject_fraction, rejects=paths.rejects)
            self._summary = kept
            return None
        self._inputs = self._load_tokenizer(files, request, limit)
        tasks = _tasks(self._inputs.work, paths)
        self._taken = take_from_siblings(config.runs_dir, paths, tasks, base=self._inputs.base)
        return {"files": self._inputs.work, "options": asdict(self._inputs.options)}

    def finish(self, counts: Counts, *, seconds: float) -> dict[str, Any]:
        """Make the store of the finished files; returns its summary."""
        if self._inputs is not None and self.renderer is not None:
            facts = Facts(
                base=self._inputs.base,
                key=digest(self._inputs.base, [file.identity for file in self._inputs.files]),
                request=self._inputs.request,
                fingerprint=digest(self._inputs.base, [file.content for file in self._inputs.files]),
                options=self._inputs.options,
                pad_id=self.renderer.pad_id,
                document_end_id=self.renderer.document_end_id,
            )
            work = {
                "seconds": seconds,
                "files_tokenised": counts.files,
                "files_taken_from_other_runs": self._taken,
                "tokens_per_second": counts.tokens / max(seconds, 1e-9),
            }
            self._summary = commit(
                facts,
                self.paths,
                files=self._inputs.files,
                tasks=_tasks(self._inputs.work, self.paths),
                work=work,
                max_reject_fraction=self._config.dataset.max_reject_fraction,
            )
        return with_packing(self._summary, self._config.dataset, self.paths)

    def _load_tokenizer(self, files: tuple[DataFile, ...], request: str, limit: int) -> _Inputs:
        config = self._config
        if sum(file.size for file in files) >= SMALL_BYTES:
            crew_context()  # imports while the tokenizer is loaded here
        self.renderer = Renderer(
            config.tokenizer_dir,
            only_assistant_loss=config.dataset.only_assistant_loss,
            add_think_pattern=config.dataset.add_think_pattern,
        )
        if self.renderer.slow_because:
            tell(f"texts are tokenised whole, which is slower: {self.renderer.slow_because}")
        options = _options(config, self.renderer, limit)
        base = digest(FORMAT, tokenizer_digest(self.renderer.tokenizer), asdict(options))
        return _Inputs(files=files, options=options, base=base, request=request)


def _kept_summary(paths: StorePaths, request: str) -> dict[str, Any] | None:
    """Summary of the store that is there, if it was made for this request, belongs to it and opens."""
    meta = read_meta(paths)
    if meta is None or meta["request"] != request or not paths.summary.is_file():
        return None
    if not all((paths.tokens / entry["tokens"]).is_file() for entry in meta["files"]):
        return None
    try:
        Store(paths.root)
    except DataError:  # a kill or a power loss has left no index, or a part of one: it is made anew
        return None
    summary: dict[str, Any] = json.loads(paths.summary.read_bytes())
    return summary if summary["key"] == meta["key"] else None


def _request(config: PrepareConfig, files: Sequence[DataFile], limit: int) -> str:
    dataset = config.dataset
    return digest(
        FORMAT,
        tokenizer_files_digest(Path(config.tokenizer_dir)),
        [dataset.only_assistant_loss, dataset.add_think_pattern, dataset.overlong, limit],
        [config.vocab.itemic_layer_n, config.vocab.vocab_size_per_layer, dataset.itemic_id_range],
        [file.identity for file in files],
    )


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
