"""The evaluate program: recommenders and simple models on the same held-out events, in one table.

Puts the parts together and writes what they found; how each is measured stands in its own file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from onerec.errors import ConfigError
from onerec.evaluate import answers, metrics
from onerec.evaluate.baselines import fit_baseline
from onerec.evaluate.material import Material, counts_of, read_material
from onerec.evaluate.questions import Question
from onerec.evaluate.ranking import (
    Ranked,
    best_items,
    difference,
    headline_k,
    ranked,
    row_of,
    segment_rows,
)
from onerec.evaluate.recommender import Recommender
from onerec.evaluate.segments import by_history_length, by_popularity
from onerec.evaluate.table import report_lines
from onerec.items.item_map import ITEMS_NAME, ItemMap, load_item_map
from onerec.progress import Progress, say, write_json_atomically

if TYPE_CHECKING:
    from onerec.config import EvaluateConfig

DOCUMENT_NAME, RANKS_NAME = "evaluation.json", "ranks.parquet"
PACKAGES = ("torch", "transformers", "tokenizers", "numpy")
"""What figures may depend on; their versions are told."""
BASELINE_ROWS = 256


def evaluate(config: EvaluateConfig) -> dict[str, object]:
    """Measure all models; writes evaluation.json and ranks.parquet, returns the table with lines for people.

    Raises ConfigError for a folder that is no model of these items, DataError for data that does not fit.
    """
    began = time.time()
    material = read_material(config)
    progress = _counted(config, material)
    results: list[Ranked] = []
    documents: dict[str, dict[str, Any]] = {}
    for name, folder in _main_first(config):
        say(f"asking {name}: {len(material.questions):,} questions, {folder}")
        recommender = _open(folder, material.items, config=config)
        results.append(_ask(name, recommender, material, config=config, on_done=progress))
        documents[name] = _other_tasks(recommender, material, config=config, on_done=progress)
    for name in config.evaluation.baselines:
        say(f"fitting {name}")
        results.append(_fit_and_ask(name, material, config=config))
        progress(len(material.questions))
    document = _document(config, material, results, documents)
    document["seconds"] = time.time() - began
    write_json_atomically(Path(config.output_dir) / DOCUMENT_NAME, document)
    _write_ranks(material, results, Path(config.output_dir) / RANKS_NAME)
    say("\n".join(document["report"]))
    return document


def _main_first(config: EvaluateConfig) -> list[tuple[str, str]]:
    """Names and folders of the models; a config.json keeps no order of keys."""
    if config.main is not None and config.main not in config.models:
        raise ConfigError(f"main names {config.main!r}, the models are {', '.join(config.models)}")
    return sorted(config.models.items(), key=lambda model: (model[0] != config.main, model[0]))


def _open(folder: str, items: ItemMap, *, config: EvaluateConfig) -> Recommender:
    own, thinks = Path(folder) / ITEMS_NAME, config.add_think_pattern
    if own.is_file():
        shipped = load_item_map(own)
        thinks = bool(shipped.about.get("add_think_pattern")) if thinks is None else thinks
        same = shipped.pids == items.pids and np.array_equal(shipped.codes_NL, items.codes_NL)
        if not same:
            raise ConfigError(
                f"{own} is not the item map of {config.built_dir}; give the data that it was made for"
            )
    return Recommender.load(Path(folder), items, add_think_pattern=bool(thinks), device=config.device)


def _ask(
    name: str,
    recommender: Recommender,
    material: Material,
    *,
    config: EvaluateConfig,
    on_done: Callable[[int], None],
) -> Ranked:
    began = time.perf_counter()
    lists = _lists(recommender, material.questions, config=config, on_done=on_done)
    return ranked(name, lists, material.targets, is_baseline=False, seconds=time.perf_counter() - began)


def _lists(
    recommender: Recommender,
    questions: Sequence[Question],
    *,
    config: EvaluateConfig,
    on_done: Callable[[int], None],
) -> list[list[int]]:
    found = recommender.ask(
        recommender.prompts([question.row for question in questions]),
        width=config.evaluation.num_beams,
        excluded=_excluded(questions, config=config),
        batch_size=config.evaluation.batch_size,
        on_done=on_done,
    )
    return [answer.items for answer in found]


def _excluded(questions: Sequence[Question], *, config: EvaluateConfig) -> list[tuple[int, ...]] | None:
    return [question.history for question in questions] if config.evaluation.exclude_history else None


def _other_tasks(
    recommender: Recommender, material: Material, *, config: EvaluateConfig, on_done: Callable[[int], None]
) -> dict[str, Any]:
    """Valid ids without a constraint, other questions for items, labels and descriptions."""
    settings, found = config.evaluation, {}
    if settings.free_beams:
        prompts = recommender.prompts([question.row for question in material.questions])
        valid = recommender.ask_freely(
            prompts, width=settings.free_beams, batch_size=settings.batch_size, on_done=on_done
        )
        found["valid_id_rate"] = _estimate([float(beams[0]) for beams in valid], config=config)
        found["valid_beam_rate"] = _estimate([float(np.mean(beams)) for beams in valid], config=config)
    for source in sorted({question.row.source for question in material.others}):
        asked = [question for question in material.others if question.row.source == source]
        lists = _lists(recommender, asked, config=config, on_done=on_done)
        result = ranked(
            source, lists, [question.target for question in asked], is_baseline=False, seconds=0.0
        )
        row = row_of(result, settings=settings, num_items=len(material.items), seed=config.seed)
        found[source] = {
            "questions": len(asked),
            **{k: v for k, v in row.items() if "@" in k or k == "mrr"},
        }
    if material.labels:
        scores = answers.label_scores(recommender, material.labels, batch_size=settings.batch_size)
        found["label_prediction"] = answers.label_figures(
            material.labels, scores, settings=settings, seed=config.seed
        )
        on_done(len(material.labels))
    if material.descriptions:
        said = answers.describe(
            recommender,
            material.descriptions,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
            on_done=on_done,
        )
        found["item_description"] = answers.description_figures(
            material.descriptions, said, settings=settings, seed=config.seed
        )
    return found


def _fit_and_ask(name: str, material: Material, *, config: EvaluateConfig) -> Ranked:
    began = time.perf_counter()
    exclude = config.evaluation.exclude_history
    model = fit_baseline(name, material.histories, seed=config.seed, exclude_history=exclude)
    lists: list[list[int]] = []
    for start in range(0, len(material.questions), BASELINE_ROWS):
        asked = material.questions[start : start + BASELINE_ROWS]
        scores_BN = model.scores([np.array(question.history, dtype=np.int32) for question in asked])
        lists += best_items(scores_BN, _excluded(asked, config=config), most=config.evaluation.num_beams)
    return ranked(
        name,
        lists,
        material.targets,
        is_baseline=True,
        seconds=time.perf_counter() - began,
        remarks=model.told,
    )


def _document(
    config: EvaluateConfig,
    material: Material,
    results: Sequence[Ranked],
    documents: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    settings, seed = config.evaluation, config.seed
    table = [
        row_of(result, settings=settings, num_items=len(material.items), seed=seed) for result in results
    ]
    for row in table:
        rates = documents.get(row["model"], {})
        row.update({key: rates[key] for key in ("valid_id_rate", "valid_beam_rate") if key in rates})
    segments = [
        *by_history_length(np.array([len(question.history) for question in material.questions])),
        *by_popularity(np.array(material.targets), material.items.popularity_N),
    ]
    document: dict[str, Any] = {
        "split": config.split,
        "seed": seed,
        "versions": {name: version(name) for name in PACKAGES},
        "settings": settings.model_dump(mode="json"),
        "models": config.models,
        "headline_k": headline_k(settings),
        "counts": counts_of(config, material),
        "table": table,
        "differences": {
            result.model: difference(result, results[0], settings=settings, seed=seed)
            for result in results[1:]
        },
        "segments": segment_rows(results, segments, settings=settings, seed=seed),
        "tasks": documents,
        "baselines": {result.model: list(result.remarks) for result in results if result.is_baseline},
    }
    document["report"] = report_lines(document)
    return document


def _counted(config: EvaluateConfig, material: Material) -> Callable[[int], None]:
    """A function that is told how many answers there are more, and writes progress.json."""
    per_model = len(material.questions) * (2 if config.evaluation.free_beams else 1)
    per_model += len(material.others) + len(material.labels) + len(material.descriptions)
    total = per_model * len(config.models) + len(material.questions) * len(config.evaluation.baselines)
    progress, done = Progress(Path(config.output_dir), total=total, unit="answers"), [0]

    def add(count: int) -> None:
        done[0] += count
        progress.update(done[0])

    return add


def _estimate(values: list[float], *, config: EvaluateConfig) -> dict[str, float | None]:
    samples = config.evaluation.bootstrap_samples
    return metrics.estimate(np.array(values), samples=samples, seed=config.seed).document()


def _write_ranks(material: Material, results: Sequence[Ranked], path: Path) -> None:
    """One row per question and model: who was asked, what was wanted, its rank, the whole list."""
    pids = np.array(material.items.pids, dtype=object)
    uids = [material.histories.uids[question.user] for question in material.questions]
    tables = [
        pa.table(
            {
                "model": [result.model] * len(uids),
                "uid": uids,
                "target_pid": pids[material.targets].tolist(),
                "rank": pa.array(result.ranks_U, pa.int32(), mask=result.ranks_U == 0),
                "pids": [pids[items].tolist() for items in result.lists],
            }
        )
        for result in results
    ]
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(pa.concat_tables(tables), temporary)
    temporary.replace(path)
