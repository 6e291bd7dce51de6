"""Ask recommenders beside a run: measure one, have it recommend, give new items ids.

Finds folders by what a person calls them: a model folder, a stage's folder, or a run; takes no lock.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onerec.config import (
    Columns,
    EncodeItemsConfig,
    EvaluateConfig,
    Evaluation,
    RecommendConfig,
)
from onerec.errors import ConfigError
from runner.manifest import restore
from runner.manifest.faults import listed, printable
from runner.manifest.items import maker_of_items
from runner.observe import read_document
from runner.on_demand import run_program
from runner.plan.material import ITEMS
from runner.rundir import RunDir, StepDir, find_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.manifest import Manifest
    from runner.on_demand import Device

Document = dict[str, Any]


@dataclass(frozen=True)
class FoundModel:
    """A model folder, and where it comes from."""

    folder: Path
    name: str
    """What it is called in tables: its stage, or its folder."""
    run: RunDir | None = None
    stage: str | None = None


def find_model(given: str) -> FoundModel:
    """The model that a person means: its folder, a training stage's folder, or a run's newest model.

    Raises ConfigError telling what was looked for.
    """
    folder = Path(given)
    for one in (folder, StepDir(folder).converted):
        if _is_model(one):
            run, stage = _run_around(one)
            name = stage or (folder.parent.name if folder.name == "converted" else folder.name)
            return FoundModel(one, name or folder.resolve().name, run, stage)
    try:
        run = find_run(given)
    except ConfigError as fault:
        told = f"{printable(given)} is neither a model folder nor a run; name a folder such as converted/"
        raise ConfigError(told) from fault
    manifest = _manifest(run)
    trained = [name for name, stage in manifest.stages.items() if stage.kind == "train"]
    for stage in reversed(trained):
        if _is_model(run.stage(stage).converted):
            return FoundModel(run.stage(stage).converted, stage, run, stage)
    raise ConfigError(f"{run.path} has no exported model yet; one is there once a training stage is done")


def evaluate(
    model: FoundModel,
    *,
    built_dir: Path | None,
    split: Literal["validation", "test"],
    evaluation: Evaluation,
    device: Device,
    env: Mapping[str, str],
    shows_output: bool,
) -> tuple[int, Document]:
    """Measure a model on held-out events; returns the exit code and all figures.

    Without `built_dir` the data is that of the run which the model lies in. Raises ConfigError without any.
    """
    manifest = _manifest(model.run) if model.run else None
    with tempfile.TemporaryDirectory(prefix="runner-evaluate-") as folder:
        config = EvaluateConfig(
            output_dir=folder,
            seed=manifest.seed if manifest else 0,
            models={model.name: str(model.folder.absolute())},
            built_dir=str((built_dir or _built_dir(model)).absolute()),
            split=split,
            evaluation=evaluation,
            add_think_pattern=_thinks(model, manifest),
            device=device,
        )
        home = StepDir(Path(folder))
        code = run_program(config, home, env=env, shows_output=shows_output)
        return code, read_document(home.evaluation)


def recommend(
    model: FoundModel,
    histories: Sequence[Sequence[str]],
    *,
    top_k: int,
    device: Device,
    env: Mapping[str, str],
) -> tuple[int, Document]:
    """Items for users given by their histories; returns the exit code and what was recommended."""
    with tempfile.TemporaryDirectory(prefix="runner-recommend-") as folder:
        config = RecommendConfig(
            output_dir=folder,
            model_dir=str(model.folder.absolute()),
            histories=tuple(tuple(history) for history in histories),
            top_k=top_k,
            num_beams=max(top_k, RecommendConfig.model_fields["num_beams"].default),
            device=device,
        )
        home = StepDir(Path(folder))
        code = run_program(config, home, env=env, shows_output=False)
        return code, read_document(home.recommendations)


def encode(
    given: str,
    items: Path,
    *,
    output: Path,
    stage: str | None,
    columns: Mapping[str, str],
    encoded_before: Sequence[Path] = (),
    env: Mapping[str, str],
) -> int:
    """Give new items ids by a build's codebooks, into a new parquet file; returns the exit code.

    `columns` go before those of the manifest that the build belongs to; ids in files that were
    `encoded_before` are not given again. Raises ConfigError for places that
    are not there, for a file that is, and for a key that tables of items do not have.
    """
    unknown = sorted(set(columns) - set(Columns.model_fields))
    if unknown:
        raise ConfigError(f"no column is called {unknown[0]!r}; they are {listed(Columns.model_fields)}")
    if not items.exists():
        raise ConfigError(f"{items} is not there; name a table of the new items")
    if output.exists():
        raise ConfigError(f"{output} is there already, and is not overwritten; choose another --output")
    built, known = _find_build(given, stage)
    with tempfile.TemporaryDirectory(prefix="runner-encode-") as folder:
        config = EncodeItemsConfig(
            output_dir=folder,
            built_dir=str(built.absolute()),
            items=str(items.absolute()),
            columns=known.model_copy(update=dict(columns)),
            encoded_before=tuple(str(path.absolute()) for path in encoded_before),
            target=str(output.absolute()),
        )
        return run_program(config, StepDir(Path(folder)), env=env)


def recommendation_lines(document: Document) -> list[str]:
    """What is recommended to each user, as a table."""
    from runner.report import table  # noqa: PLC0415 - only for people

    lines: list[str] = []
    users = document.get("users", [])
    for number, user in enumerate(users, start=1):
        met = ", ".join(item["title"] or item["pid"] for item in user["history"][-3:])
        more = len(user["history"]) - 3
        told = f"after {met}" + (f" and {more} before" if more > 0 else "")
        lines += ["", f"user {number}, {told}"] if len(users) > 1 else [told]
        rows = [("rank", "pid", "title", "score")]
        rows += [
            (
                str(item["rank"]),
                printable(item["pid"]),
                printable(item["title"] or ""),
                f"{item['score']:.3f}",
            )
            for item in user["items"]
        ]
        lines += table(rows)
    return lines[1:] if len(users) > 1 else lines


def _is_model(folder: Path) -> bool:
    """Whether a folder is a Hugging Face model; a stage's config.json is of another kind."""
    try:
        document = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and "model_type" in document


def _run_around(folder: Path) -> tuple[RunDir | None, str | None]:
    """The run that a folder lies in, and its stage there; links are followed only where need be."""
    for path in (folder.absolute(), folder.resolve()):
        for above in path.parents:
            if RunDir(above).resolved.is_file():
                return RunDir(above), path.relative_to(above).parts[0]
    return None, None


def _manifest(run: RunDir) -> Manifest:
    try:
        return restore(run.resolved.read_bytes())
    except OSError as fault:
        raise ConfigError(f"{run.path} has no record of its manifest; name folders instead") from fault


def _built_dir(model: FoundModel) -> Path:
    """The folder of the items that a model of a run was trained on."""
    if model.run is None or model.stage is None:
        raise ConfigError(
            f"{model.folder} lies in no run; name the folder rows/ of a build_data stage with --data"
        )
    manifest = _manifest(model.run)
    maker = maker_of_items(manifest, model.stage) if model.stage in manifest.stages else None
    if maker is None:
        raise ConfigError(
            f"{model.run.path} has no build_data stage; name the folder rows/ of such a stage with --data"
        )
    return model.run.stage(maker).rows.path


def _thinks(model: FoundModel, manifest: Manifest | None) -> bool | None:
    """How the model's stage rendered chat rows; None: as its item map tells."""
    stage = manifest.stages.get(model.stage or "") if manifest else None
    if manifest is None or stage is None or stage.kind != "train":
        return None
    return manifest.datasets[stage.datasets[0]].add_think_pattern


def _find_build(given: str, stage: str | None) -> tuple[Path, Columns]:
    """A build's folder, and the columns of its tables as far as a manifest tells."""
    folder = Path(given)
    for one in (folder, StepDir(folder).rows.path):
        if (one / ITEMS).exists():
            run, name = _run_around(one)
            return one, _columns(_manifest(run), name) if run else Columns()
    try:
        run = find_run(given)
    except ConfigError as fault:
        told = f"{printable(given)} is neither a run nor a folder with {ITEMS}; name one of them"
        raise ConfigError(told) from fault
    manifest = _manifest(run)
    makers = [name for name, one in manifest.stages.items() if one.kind == "build_data"]
    if stage is None and len(makers) != 1:
        remedy = "choose one with --stage" if makers else "name the folder of another build"
        raise ConfigError(f"build_data stages of {run.path}: {listed(makers) or 'none'}; {remedy}")
    name = stage or makers[0]
    if name not in makers:
        raise ConfigError(f"{run.path} has no build_data stage {name!r}; it has {listed(makers) or 'none'}")
    return run.stage(name).rows.path, _columns(manifest, name)


def _columns(manifest: Manifest, stage: str | None) -> Columns:
    build = manifest.stages.get(stage or "")
    return build.columns if build is not None and build.kind == "build_data" else Columns()
