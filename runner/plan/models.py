"""The steps that make a model to train: one from scratch, and one with the itemic tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onerec.config import ExpandVocabConfig, InitModel, InitModelConfig
from runner.plan.draft import ModelOnTheWay, outside, section
from runner.steps import Read

if TYPE_CHECKING:
    from runner.manifest.tables import ExpandVocabStage, InitModelStage
    from runner.plan.draft import Draft
    from runner.rundir import StepDir


def add_new_model(draft: Draft, name: str, stage: InitModelStage) -> None:
    """A Qwen3 from scratch."""
    home = draft.run.stage(name)
    corpus = [draft.made("corpus_dirs", source) for source in stage.corpus]
    config = InitModelConfig(
        output_dir=str(home.path),
        seed=draft.manifest.seed,
        corpus_dirs=tuple(read.path for read in corpus),
        model=section(InitModel, stage),
        use_tie_weights=draft.manifest.model.use_tie_weights is not False,
    )
    reads = (*corpus, *outside("model.tokenizer_dir", stage.tokenizer_dir))
    draft.add(name, stage=name, home=home, config=config, reads=reads, outputs=[home.model])
    draft.models[name] = _with_own_tokenizer(name, home)


def add_expansion(draft: Draft, name: str, stage: ExpandVocabStage) -> None:
    """The model before it with the tokens of [vocab]."""
    home, base = draft.run.stage(name), draft.model_before(stage.starts_from)
    config = ExpandVocabConfig(
        output_dir=str(home.path),
        seed=draft.manifest.seed,
        base_model_dir=base.model_dir,
        model_class=draft.manifest.model.model_class,
        vocab=draft.vocab,
    )
    reads = (Read("base_model_dir", base.model_dir, base.step),)
    draft.add(name, stage=name, home=home, config=config, reads=reads, outputs=[home.model])
    draft.models[name] = _with_own_tokenizer(name, home)


def _with_own_tokenizer(name: str, home: StepDir) -> ModelOnTheWay:
    return ModelOnTheWay(name, str(home.model), name, str(home.model), name)
