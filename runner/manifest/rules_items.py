"""The rules of items: where ids come from, what is held out, and which models are measured on it.

Pure. Names that lead to no stage are told by `rules_references`.
"""

from __future__ import annotations

from collections.abc import Iterator

from onerec.config import BASELINES
from runner.manifest.faults import Problem, listed, shown
from runner.manifest.items import holds_out, makers_trained_on, model_before
from runner.manifest.positions import KeyPath
from runner.manifest.tables import BuildDataStage, EvaluateStage, Manifest, TrainStage

QUESTIONS = ("validation", "test")
"""Outputs of a build_data stage that hold one question a user, each answered by one item."""
LONGEST_TITLE = 60
"""Characters of a model's name in the table."""


def check_items(manifest: Manifest, doubtful: frozenset[KeyPath]) -> Iterator[Problem]:
    """Every broken rule about ids and about what models are asked."""
    yield from _check_item_map(manifest)
    for name, stage in manifest.stages.items():
        path = ("stages", name)
        if path in doubtful:
            continue
        if stage.kind == "train":
            yield from _check_one_language(path, manifest)
            yield from _check_hit_rate(path, stage, manifest)
        if stage.kind == "evaluate":
            yield from _check_split(path, stage, manifest)
            yield from _check_titles(path, stage, measured=model_before(manifest, name))


def _check_item_map(manifest: Manifest) -> Iterator[Problem]:
    makers = _makers(manifest)
    if manifest.vocab.item_map is not None and makers:
        yield Problem(
            ("vocab", "item_map"),
            f"stage {makers[0]!r} tells which item has which id",
            f"remove it, or write it as stages.{makers[0]}.given_ids",
        )


def _check_one_language(path: KeyPath, manifest: Manifest) -> Iterator[Problem]:
    """One id means one item: a model is trained on rows of one build, or of several with the same ids."""
    name = str(path[1])
    makers = [maker for maker in makers_trained_on(manifest, name) if maker in _makers(manifest)]
    given = {_build(manifest, maker).given_ids for maker in makers}
    if len(makers) > 1 and (len(given) > 1 or None in given):
        yield Problem(
            path,
            f"its model is trained on items of stages {listed(makers)}, where one id means different items",
            "give all of them the same given_ids, or train a model on each",
        )


def _check_hit_rate(path: KeyPath, stage: TrainStage, manifest: Manifest) -> Iterator[Problem]:
    if stage.hit_rate is None:
        return
    place, name = (*path, "hit_rate", "name"), stage.hit_rate.name
    if name not in QUESTIONS:
        yield Problem(place, f"{shown(name)} is not all questions for an item", 'write "validation"')
    elif name == "test" and stage.export == "best":
        yield Problem(
            place,
            "the best checkpoint would be chosen by what it is tested on",
            'write "validation", or export = "last"',
        )
    elif stage.hit_rate.stage in _makers(manifest):
        yield from _check_held_out(place, stage.hit_rate.stage, name, manifest)


def _check_split(path: KeyPath, stage: EvaluateStage, manifest: Manifest) -> Iterator[Problem]:
    if stage.data in _makers(manifest):
        yield from _check_held_out((*path, "split"), stage.data, stage.split, manifest)


def _check_held_out(place: KeyPath, maker: str, split: str, manifest: Manifest) -> Iterator[Problem]:
    build = _build(manifest, maker)
    if holds_out(build, "validation" if split == "validation" else "test"):
        return
    key = f"{split}_share" if build.split == "time" else "validation"
    remedy = f"raise stages.{maker}.{key}" if build.split == "time" else f"write stages.{maker}.{key} = true"
    yield Problem(place, f"stage {maker!r} holds nothing out for {split}", remedy)


def _check_titles(path: KeyPath, stage: EvaluateStage, *, measured: str | None) -> Iterator[Problem]:
    """Names of models in the table: such as can be shown, and no two that could be mixed up."""
    for title, target in (stage.models or {}).items():
        place = (*path, "models", title)
        if not title.strip() or not title.isprintable() or len(title) > LONGEST_TITLE:
            yield Problem(place, "is no name for a table", f"write 1 to {LONGEST_TITLE} printable characters")
        elif title in BASELINES:
            yield Problem(place, f"{title!r} is a simple model's name", "choose another")
        elif measured in (title, target):
            yield Problem(
                place,
                f"the model of stage {measured!r} is measured already, under the stage's name",
                "remove it, or name another stage and call it otherwise",
            )


def _makers(manifest: Manifest) -> list[str]:
    return [name for name, stage in manifest.stages.items() if stage.kind == "build_data"]


def _build(manifest: Manifest, name: str) -> BuildDataStage:
    stage = manifest.stages[name]
    assert isinstance(stage, BuildDataStage)
    return stage
