"""Every shipped manifest loads and holds the recipe that it says it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.flat import differences, flat
from runner.manifest import Manifest, load

FOLDER = Path(__file__).parents[3] / "manifests"
MANIFESTS = sorted(FOLDER.glob("*.toml"))
TOKENS = {"stage1": 16_000_000_000, "stage2": 33_000_000_000}


def dump_of(path: Path) -> dict[str, object]:
    return load(path).resolved


def shipped(name: str) -> Manifest:
    return load(FOLDER / f"{name}.toml").manifest


def test_the_manifests_that_the_readme_names_are_those_that_are_there():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")

    assert [path.name for path in MANIFESTS] == [
        "movielens.toml",
        "movielens_quick.toml",
        "onerec_0.6b.toml",
        "onerec_1.7b.toml",
        "onerec_8b.toml",
    ]
    assert all(f"`{path.name}`" in readme for path in MANIFESTS)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_shipped_manifest_loads(path: Path):
    assert load(path).manifest.name == path.stem.replace("_", "-")


def test_movielens_runs_from_nothing_but_data():
    manifest = shipped("movielens")

    assert {name: stage.kind for name, stage in manifest.stages.items()} == {
        "data": "build_data",
        "base": "init_model",
        "expand": "expand_vocab",
        "stage1": "train",
        "stage2": "train",
        "sft": "train",
        "test": "test_model",
        "evaluate": "evaluate",
    }
    assert manifest.model.base_model_dir is None
    assert [stage.freeze_llm for stage in manifest.stages.values() if stage.kind == "train"] == [
        True,
        False,
        False,
    ]


def test_the_quick_start_differs_only_in_how_long_it_trains_and_what_it_is_measured_beside():
    full, quick = (flat(dump_of(FOLDER / name)) for name in ("movielens.toml", "movielens_quick.toml"))

    assert {key for key, _, _ in differences(full, quick)} <= {
        "name",
        "datasets.pretrain.num_epochs",
        "stages.data.history_copies",
        "stages.data.samples_per_user",
        "stages.stage2.learning_rate",
        "stages.stage2.min_lr",
        "stages.sft.hit_rate_per_step",
        "stages.evaluate.baselines",
        "stages.evaluate.models",
        "stages.evaluate.models.before SFT",
    }


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("movielens_without_stage1", ("stages.stage1", "stage_order")),
        ("movielens_without_text", ("stages.data.tasks", "stages.base.tokenizer_vocab_size")),
    ],
)
def test_an_ablation_differs_from_the_quick_start_in_nothing_but_what_it_leaves_out(
    name: str, left_out: tuple[str, ...]
):
    quick, ablation = (
        flat(dump_of(path)) for path in (FOLDER / "movielens_quick.toml", FOLDER / f"ablations/{name}.toml")
    )

    changed = {key for key, _, _ in differences(quick, ablation)} - {"name"}
    assert changed
    assert {key for key in changed if not key.startswith(left_out)} == set()


@pytest.mark.parametrize(
    ("name", "ranks", "tied"), [("onerec_0.6b", 8, True), ("onerec_1.7b", 16, True), ("onerec_8b", 32, False)]
)
def test_the_recipe_is_that_of_the_technical_report(name: str, ranks: int, tied: bool):
    manifest = shipped(name)
    stages = {key: stage for key, stage in manifest.stages.items() if stage.kind == "train"}
    rates = {key: (stage.learning_rate, stage.min_lr, stage.freeze_llm) for key, stage in stages.items()}

    assert rates == {
        "stage1": (1e-3, 1e-4, True),
        "stage2": (1e-4, 2e-5, False),
        "sft": (2e-5, 5e-6, False),
    }
    assert {stage.lr_scheduler_type for stage in stages.values()} == {"cosine"}
    assert {(stage.beta1, stage.beta2, stage.weight_decay) for stage in stages.values()} == {(0.9, 0.95, 0.1)}
    assert {dataset.max_length for dataset in manifest.datasets.values()} == {32768}
    assert (manifest.vocab.itemic_layer_n, manifest.vocab.vocab_size_per_layer) == (3, 8192)
    assert manifest.model.use_tie_weights is tied
    assert ranks == (manifest.cluster.nnodes or 1) * manifest.cluster.nproc_per_node
    for key, tokens in TOKENS.items():
        steps = -(-tokens // (32768 * ranks))
        assert stages[key].num_training_steps == stages[key].max_steps == steps
        assert stages[key].num_warmup_steps == round(steps / 10)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_arithmetic_in_the_comments_is_that_of_the_keys(path: Path):
    text = path.read_text(encoding="utf-8")
    stages = load(path).manifest.stages
    for key in TOKENS:
        steps = stages[key].num_training_steps
        assert steps is None or f"= {steps:,} steps, warm-up 10 % = {stages[key].num_warmup_steps:,}" in text
