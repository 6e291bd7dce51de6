"""The steps that make what is trained on: rows and ids from raw interactions, tokens from rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerec.config import BuildData, BuildDataConfig, Dataset, PrepareConfig, StageSource
from onerec.errors import ConfigError
from runner.manifest.items import holds_out, maker_of_items
from runner.plan.draft import outside, section
from runner.steps import Read

if TYPE_CHECKING:
    from runner.manifest.tables import BuildDataStage
    from runner.plan.draft import Draft, ModelOnTheWay

BUILD_INPUTS = ("path", "interactions", "items", "given_ids", "templates", "text_encoder_dir")
"""Keys of a build_data stage that name a file or folder."""
ITEMS, HISTORIES = "items.parquet", "histories.parquet"


def add_build_data(draft: Draft, name: str, stage: BuildDataStage) -> None:
    """Raw interactions to ids and rows."""
    home = draft.run.stage(name)
    config = BuildDataConfig(
        output_dir=str(home.rows.path),
        seed=draft.manifest.seed,
        vocab=draft.vocab,
        data=section(BuildData, stage),
    )
    held_out = ["validation"] if holds_out(stage, "validation") else []
    outputs = [home.rows.output(one) for one in ("pretrain", "sft", *held_out, "test", ITEMS, HISTORIES)]
    reads = tuple(read for key in BUILD_INPUTS for read in outside(f"data.{key}", getattr(stage, key)))
    draft.add(name, stage=name, home=home, config=config, reads=reads, outputs=outputs)


def add_preparation(draft: Draft, name: str, dataset: Dataset, *, stage: str, model: ModelOnTheWay) -> None:
    """Plan a dataset's preparation; training changes no tokenizer, so the stages of a chain share it."""
    if draft.prepared.setdefault(name, model.tokenizer_dir) != model.tokenizer_dir:
        raise ConfigError(
            f"stages.{stage}.dataset: {name!r} is prepared with the tokenizer of {draft.prepared[name]}, "
            f"but this stage needs that of {model.tokenizer_dir}; list it again under a second name"
        )
    if any(step.name == f"prepare:{name}" for step in draft.steps):
        return
    home = draft.run.dataset(name)
    sources = dataset.sources if isinstance(dataset.sources, tuple) else (dataset.sources,)
    made = [_source(draft, source) for source in sources]
    config = PrepareConfig(
        output_dir=str(home.path),
        tokenizer_dir=model.tokenizer_dir,
        sources=tuple(read.path for read in made),
        dataset=dataset,
        vocab=draft.vocab,
        runs_dir=str(draft.run.path.parent),
    )
    reads = (Read("tokenizer_dir", model.tokenizer_dir, model.tokenizer_step), *made)
    draft.add(
        f"prepare:{name}",
        stage=stage,
        home=home,
        config=config,
        reads=reads,
        outputs=[home.summary],
        one_per_host=True,
    )


def item_map(draft: Draft, stage: str) -> tuple[Read, ...]:
    """The items that the model of a training stage speaks of; empty where the manifest tells none."""
    if draft.manifest.vocab.item_map is not None:
        return (Read("item_map", draft.manifest.vocab.item_map),)
    maker = maker_of_items(draft.manifest, stage)
    return () if maker is None else (draft.made("item_map", StageSource(stage=maker, name=ITEMS)),)


def _source(draft: Draft, source: str | StageSource) -> Read:
    if isinstance(source, StageSource):
        return draft.made("sources", source)
    return Read("sources", source)
