"""A manifest as ordered steps: what each is told, reads and writes, and what its outcome depends on.

Pure: no disk is touched, and the same manifest in the same place always gives the same plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar

from onerec.config import (
    BuildData,
    BuildDataConfig,
    Checkpointing,
    Compute,
    ConvertConfig,
    DataOrder,
    Dataset,
    Duration,
    ExpandVocabConfig,
    InitModel,
    InitModelConfig,
    ModelSource,
    ModelTest,
    Monitoring,
    Optim,
    PrepareConfig,
    PreparedDataset,
    Section,
    StageSource,
    StepConfig,
    TestModelConfig,
    Trainable,
    TrainConfig,
    Validating,
)
from onerec.errors import ConfigError
from runner.fingerprint import fingerprint
from runner.steps import Plan, Read, Step, find_ingredients

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runner.manifest.tables import (
        BuildDataStage,
        ExpandVocabStage,
        InitModelStage,
        Manifest,
        Stage,
        TestModelStage,
        TrainStage,
    )
    from runner.rundir import RunDir, StepDir

SectionT = TypeVar("SectionT", bound=Section)


def plan(manifest: Manifest, *, run: RunDir, identities: Mapping[str, str]) -> Plan:
    """The steps of a manifest whose input paths are absolute.

    `identities` maps each place outside the run to a digest of what stands there. Raises ConfigError for a
    dataset that two stages would need in two forms.
    """
    planner = _Planner(manifest, run=run, identities=identities)
    for name, stage in manifest.stages.items():
        planner.add_stage(name, stage)
    return Plan(run=run, steps=tuple(planner.steps))


@dataclass(frozen=True)
class _Model:
    """A Hugging Face folder on the way: who writes it, and whose tokenizer and chat rendering it has."""

    model_dir: str
    step: str | None
    tokenizer_dir: str
    tokenizer_step: str | None
    add_think_pattern: bool = False


@dataclass
class _Planner:
    manifest: Manifest
    run: RunDir
    identities: Mapping[str, str]
    steps: list[Step] = field(default_factory=list)
    models: dict[str, _Model] = field(default_factory=dict)
    prepared: dict[str, str] = field(default_factory=dict)
    """Tokenizer folder that each dataset is prepared with."""

    def add_stage(self, name: str, stage: Stage) -> None:
        if stage.kind == "build_data":
            self._build_data(name, stage)
        elif stage.kind == "init_model":
            self._init_model(name, stage)
        elif stage.kind == "expand_vocab":
            self._expand_vocab(name, stage)
        elif stage.kind == "train":
            self._train(name, stage)
        else:
            self._test_model(name, stage)

    def _build_data(self, name: str, stage: BuildDataStage) -> None:
        home = self.run.stage(name)
        config = BuildDataConfig(
            output_dir=str(home.rows.path),
            seed=self.manifest.seed,
            vocab=self.manifest.vocab,
            data=_section(BuildData, stage),
        )
        outputs = [home.rows.output(output) for output in ("pretrain", "sft", "test", "items.parquet")]
        self._add(
            name,
            stage=name,
            home=home,
            config=config,
            reads=_outside("data.path", stage.path),
            outputs=outputs,
        )

    def _init_model(self, name: str, stage: InitModelStage) -> None:
        home = self.run.stage(name)
        corpus = [self._made("corpus_dirs", source) for source in stage.corpus]
        config = InitModelConfig(
            output_dir=str(home.path),
            seed=self.manifest.seed,
            corpus_dirs=tuple(read.path for read in corpus),
            model=_section(InitModel, stage),
            use_tie_weights=self.manifest.model.use_tie_weights is not False,
        )
        reads = (*corpus, *_outside("model.tokenizer_dir", stage.tokenizer_dir))
        self._add(name, stage=name, home=home, config=config, reads=reads, outputs=[home.model])
        self._gives_new_tokenizer(name, home)

    def _expand_vocab(self, name: str, stage: ExpandVocabStage) -> None:
        home, base = self.run.stage(name), self._model_before(stage.starts_from)
        config = ExpandVocabConfig(
            output_dir=str(home.path),
            seed=self.manifest.seed,
            base_model_dir=base.model_dir,
            model_class=self.manifest.model.model_class,
            vocab=self.manifest.vocab,
        )
        reads = (Read("base_model_dir", base.model_dir, base.step),)
        self._add(name, stage=name, home=home, config=config, reads=reads, outputs=[home.model])
        self._gives_new_tokenizer(name, home)

    def _train(self, name: str, stage: TrainStage) -> None:
        home, model = self.run.stage(name), self._model_before(stage.starts_from)
        for dataset in stage.read_datasets:
            self._prepare(dataset, self.manifest.datasets[dataset], stage=name, model=model)
        seed = self.manifest.seed if stage.seed is None else stage.seed
        config = TrainConfig(
            stage=name,
            output_dir=str(home.path),
            tensorboard_dir=str(home.tensorboard),
            stop_file=str(self.run.stop_file),
            seed=seed,
            model=ModelSource(
                model_dir=model.model_dir,
                model_class=self.manifest.model.model_class,
                use_tie_weights=self.manifest.model.use_tie_weights,
            ),
            vocab=self.manifest.vocab,
            data=self._order(stage, seed=seed),
            optim=_section(Optim, stage),
            trainable=_section(Trainable, stage),
            compute=_section(Compute, stage),
            checkpoint=_section(Checkpointing, stage),
            monitor=_section(Monitoring, stage),
            validating=_section(Validating, stage),
            duration=_section(Duration, stage),
        )
        reads = (
            Read("model.model_dir", model.model_dir, model.step),
            *(self._store(dataset) for dataset in stage.read_datasets),
            *_outside("checkpoint.resume_from", stage.resume_from),
        )
        self._add(
            name, stage=name, home=home, config=config, reads=reads, outputs=[home.latest], launched=True
        )
        self._convert(name, home=home, model=model)
        self.models[name] = _Model(
            model_dir=str(home.converted),
            step=f"{name}:convert",
            tokenizer_dir=model.tokenizer_dir,
            tokenizer_step=model.tokenizer_step,
            add_think_pattern=self.manifest.datasets[stage.datasets[0]].add_think_pattern,
        )

    def _prepare(self, name: str, dataset: Dataset, *, stage: str, model: _Model) -> None:
        """Plan a dataset's preparation; training changes no tokenizer, so the stages of a chain share it."""
        if self.prepared.setdefault(name, model.tokenizer_dir) != model.tokenizer_dir:
            raise ConfigError(
                f"stages.{stage}.dataset: {name!r} is prepared with the tokenizer of {self.prepared[name]}, "
                f"but this stage needs that of {model.tokenizer_dir}; list it again under a second name"
            )
        if any(step.name == f"prepare:{name}" for step in self.steps):
            return
        home = self.run.dataset(name)
        sources = dataset.sources if isinstance(dataset.sources, tuple) else (dataset.sources,)
        made = [self._source(source) for source in sources]
        config = PrepareConfig(
            output_dir=str(home.path),
            tokenizer_dir=model.tokenizer_dir,
            sources=tuple(read.path for read in made),
            dataset=dataset,
            vocab=self.manifest.vocab,
            runs_dir=str(self.run.path.parent),
        )
        reads = (Read("tokenizer_dir", model.tokenizer_dir, model.tokenizer_step), *made)
        self._add(
            f"prepare:{name}",
            stage=stage,
            home=home,
            config=config,
            reads=reads,
            outputs=[home.summary],
            one_per_host=True,
        )

    def _order(self, stage: TrainStage, *, seed: int) -> DataOrder:
        """How a stage reads its datasets, which agree on sizes and epochs (a rule of the manifest)."""
        first = self.manifest.datasets[stage.datasets[0]]
        return DataOrder(
            datasets=tuple(map(self._prepared, stage.datasets)),
            validation=None if stage.validation is None else self._prepared(stage.validation),
            mixture=stage.mixture,
            max_length=first.max_length,
            num_epochs=first.num_epochs,
            num_workers=first.num_workers,
            local_shuffle_buffer_size=first.local_shuffle_buffer_size,
            shuffle_memory_gigabytes=first.shuffle_memory_gigabytes,
            shuffle_seed=seed if first.shuffle_seed is None else first.shuffle_seed,
        )

    def _prepared(self, name: str) -> PreparedDataset:
        return PreparedDataset(
            name=name,
            store_dir=str(self.run.dataset(name).path),
            validation_fraction=self.manifest.datasets[name].validation_fraction,
        )

    def _store(self, name: str) -> Read:
        return Read(f"data.{name}", str(self.run.dataset(name).path), f"prepare:{name}")

    def _convert(self, stage: str, *, home: StepDir, model: _Model) -> None:
        records = self.run.conversion(stage)
        config = ConvertConfig(
            output_dir=str(records.path),
            stage_dir=str(home.path),
            link=str(home.converted),
            model_dir=model.model_dir,
            base_model=_name_of(self.manifest.model.base_model_dir),
            manifest=str(self.run.manifest),
        )
        reads = (Read("stage_dir", str(home.path), stage), Read("model_dir", model.model_dir, model.step))
        self._add(
            f"{stage}:convert",
            stage=stage,
            home=records,
            config=config,
            reads=reads,
            outputs=[home.converted],
        )

    def _test_model(self, name: str, stage: TestModelStage) -> None:
        home, model = self.run.stage(name), self._model_before(stage.starts_from)
        heldout = None if stage.heldout is None else self._made("heldout_dir", stage.heldout)
        popularity = None if stage.popularity is None else self._made("popularity_dir", stage.popularity)
        config = TestModelConfig(
            output_dir=str(home.path),
            model_dir=model.model_dir,
            test=_section(ModelTest, stage),
            heldout_dir=heldout.path if heldout else None,
            popularity_dir=popularity.path if popularity else None,
            add_think_pattern=model.add_think_pattern,
        )
        reads = (
            Read("model_dir", model.model_dir, model.step),
            *_outside("test.test_cases", stage.test_cases),
            *(read for read in (heldout, popularity) if read),
        )
        self._add(name, stage=name, home=home, config=config, reads=reads, outputs=[])

    def _add(
        self,
        name: str,
        *,
        stage: str,
        home: StepDir,
        config: StepConfig,
        reads: tuple[Read, ...],
        outputs: list[Path],
        launched: bool = False,
        one_per_host: bool = False,
    ) -> None:
        ingredients = find_ingredients(config, reads, made=self.steps, identities=self.identities)
        step = Step(
            name=name,
            kind=config.kind,
            stage=stage,
            config=config,
            folder=str(home.path),
            reads=reads,
            outputs=tuple(str(output) for output in outputs),
            launched=launched,
            one_per_host=one_per_host,
            ingredients=ingredients,
            fingerprint=fingerprint(ingredients),
        )
        self.steps.append(step)

    def _gives_new_tokenizer(self, name: str, home: StepDir) -> None:
        self.models[name] = _Model(str(home.model), name, str(home.model), name)

    def _model_before(self, starts_from: str | None) -> _Model:
        if starts_from is not None:
            return self.models[starts_from]
        if self.models:
            return next(reversed(self.models.values()))
        base = self.manifest.model.base_model_dir
        if base is None:
            raise ConfigError(
                "model.base_model_dir is missing and no earlier stage gives a model; give either"
            )
        return _Model(base, None, base, None)

    def _made(self, role: str, source: StageSource) -> Read:
        return Read(role, str(self.run.stage(source.stage).rows.output(source.name)), source.stage)

    def _source(self, source: str | StageSource) -> Read:
        if isinstance(source, StageSource):
            return self._made("sources", source)
        return Read("sources", source)


def _section(kind: type[SectionT], stage: Section) -> SectionT:
    """The part of a stage's flat keys that one section declares."""
    return kind.model_validate({key: getattr(stage, key) for key in kind.model_fields})


def _name_of(path: str | None) -> str | None:
    """Name of a model by its folder; in the Hub's cache, models--Qwen--Qwen3-1.7B/snapshots/..., its id."""
    if path is None:
        return None
    cached = [part for part in PurePath(path).parts if part.startswith("models--")]
    return cached[-1].removeprefix("models--").replace("--", "/", 1) if cached else PurePath(path).name


def _outside(role: str, path: str | None) -> tuple[Read, ...]:
    return () if path is None else (Read(role, path),)
