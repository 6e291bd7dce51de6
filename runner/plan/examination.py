"""The steps that look at a model: whether it is sound, and how well it recommends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerec.config import EvaluateConfig, Evaluation, ModelTest, TestModelConfig
from runner.plan.draft import outside, section
from runner.steps import Read

if TYPE_CHECKING:
    from runner.manifest.tables import EvaluateStage, TestModelStage
    from runner.plan.draft import Draft


def add_model_test(draft: Draft, name: str, stage: TestModelStage) -> None:
    """Whether a model is sound."""
    home, model = draft.run.stage(name), draft.model_before(stage.starts_from)
    heldout = None if stage.heldout is None else draft.made("heldout_dir", stage.heldout)
    popularity = None if stage.popularity is None else draft.made("popularity_dir", stage.popularity)
    config = TestModelConfig(
        output_dir=str(home.path),
        model_dir=model.model_dir,
        test=section(ModelTest, stage),
        heldout_dir=heldout.path if heldout else None,
        popularity_dir=popularity.path if popularity else None,
        add_think_pattern=model.add_think_pattern,
    )
    reads = (
        Read("model_dir", model.model_dir, model.step),
        *outside("test.test_cases", stage.test_cases),
        *(read for read in (heldout, popularity) if read),
    )
    draft.add(name, stage=name, home=home, config=config, reads=reads, outputs=[])


def add_evaluation(draft: Draft, name: str, stage: EvaluateStage) -> None:
    """How well models recommend; the first of them is asked as it was trained, the others as it is."""
    home, model = draft.run.stage(name), draft.model_before(stage.starts_from)
    others = {title: draft.models[other] for title, other in (stage.models or {}).items()}
    models = {model.name: model, **others}
    built = _built(draft, stage)
    config = EvaluateConfig(
        output_dir=str(home.path),
        seed=draft.manifest.seed,
        models={title: one.model_dir for title, one in models.items()},
        main=model.name,
        built_dir=built.path,
        split=stage.split,
        evaluation=section(Evaluation, stage),
        add_think_pattern=model.add_think_pattern,
    )
    reads = (
        *(Read(f"models.{title}", one.model_dir, one.step) for title, one in models.items()),
        built,
    )
    outputs = [home.evaluation, home.ranks]
    draft.add(name, stage=name, home=home, config=config, reads=reads, outputs=outputs)


def _built(draft: Draft, stage: EvaluateStage) -> Read:
    if stage.data is not None:
        return Read("built_dir", str(draft.run.stage(stage.data).rows.path), stage.data)
    assert stage.built_dir is not None, "a rule of the manifest"
    return Read("built_dir", stage.built_dir)
