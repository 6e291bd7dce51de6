"""A stage evaluated on rows it never trains on, for real: exact losses, and an undisturbed training."""

import json
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3ForCausalLM

from onerec.build.rows import write_rows
from onerec.checkpoint import commit
from onerec.config import ConvertConfig, DataOrder, Dataset, PrepareConfig
from onerec.convert import convert
from onerec.data.preparation.prepare import prepare
from onerec.data.store.store import Store
from onerec.data.text.label import labels_of
from onerec.train.validate import is_due
from tests import tiny


@pytest.fixture(scope="module")
def held(tiny_programme, tmp_path_factory):
    """A prepared dataset of other rows than the tiny programme's."""
    folder = tmp_path_factory.mktemp("held")
    rows = [replace(row, uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, row.uuid))) for row in tiny.rows(20, seed=9)]
    write_rows(rows, folder / "data")
    prepare(
        PrepareConfig(
            output_dir=str(folder / "store"),
            tokenizer_dir=str(tiny_programme / "expanded" / "model"),
            sources=(str(folder / "data"),),
            dataset=Dataset(sources="data", max_length=tiny.MAX_LENGTH, num_processes=1),
            vocab=tiny.VOCAB,
        )
    )
    return folder / "store"


def config_of(tiny_programme, held, output_dir, **changes):
    data = {"validation": {"name": "held", "store_dir": str(held)}}
    return tiny.train_config(tiny_programme, output_dir, data=data, **changes)


def rows_of(config):
    lines = (Path(config["output_dir"]) / "validation.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def figures(config):
    """Everything of each evaluation that must not depend on how the stage was run."""
    kept = ("step", "loss", "itemic_loss", "text_loss", "source_loss", "trained_tokens", "samples")
    return [{key: row[key] for key in kept} for row in rows_of(config)]


def close(rows, others):
    assert len(rows) == len(others) > 0
    for row, other in zip(rows, others, strict=True):
        assert row["source_loss"] == pytest.approx(other["source_loss"], rel=2e-5)
        plain = {key: value for key, value in row.items() if key != "source_loss"}
        assert plain == pytest.approx({key: other[key] for key in plain}, rel=2e-5)


@pytest.fixture(scope="module")
def whole(tiny_programme, held, tmp_path_factory):
    """A stage of one process that is evaluated after every second step."""
    folder = tmp_path_factory.mktemp("whole")
    config = config_of(tiny_programme, held, folder / "stage", validating={"validation_per_step": 2})
    tiny.run(config)
    return config


@pytest.mark.parametrize(("step", "due"), [(1, False), (4, True), (5, False), (8, True), (9, True)])
def test_an_evaluation_follows_every_so_many_steps_and_the_last(step, due):
    assert is_due(step, every=4, last_step=9) is due


def test_a_stage_tells_its_validation_loss_by_source_and_kind_of_target(whole):
    rows, last = rows_of(whole), tiny.metrics(whole)[-1]["step"]
    assert [row["step"] for row in rows] == sorted({*range(2, last + 1, 2), last})
    assert set(rows[0]["source_loss"]) == {"history", "next_item"}
    assert rows[0]["samples"] == 20
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    result = json.loads((Path(whole["output_dir"]) / "result.json").read_text())
    assert result["validation"] == rows[-1]
    assert f"loss {rows[-1]['loss']:.4f}" in result["report"][0]


def test_the_loss_is_that_of_the_exported_model_on_each_sample_alone(whole, tiny_programme, held):
    stage_dir = Path(whole["output_dir"])
    told = convert(
        ConvertConfig(
            output_dir=str(stage_dir / "convert"),
            stage_dir=str(stage_dir),
            model_dir=str(tiny_programme / "expanded" / "model"),
            dtype="fp32",
        )
    )
    model = Qwen3ForCausalLM.from_pretrained(told["model_dir"], dtype=torch.float32)
    store, losses = Store(held), {}
    for number in range(len(store)):
        sample = store.sample(number)
        ids = torch.from_numpy(np.array(sample.input_ids)).long()
        labels = torch.from_numpy(labels_of(sample.input_ids, sample.spans)).long()
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0]
        each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")[labels != -100]
        losses.setdefault(store.sources[sample.source], []).append(each)
    alone = {source: float(torch.cat(parts).mean()) for source, parts in losses.items()}
    assert rows_of(whole)[-1]["source_loss"] == pytest.approx(alone, rel=1e-5)


def test_evaluating_changes_nothing_of_the_training(whole, tiny_programme, held, tmp_path):
    """Saved at the steps that are evaluated too: gathered weights must not reach a checkpoint."""
    rare = config_of(tiny_programme, held, tmp_path / "stage", validating={"validation_per_step": 1000})
    tiny.run(rare)
    assert tiny.curve(rare) == tiny.curve(whole)
    assert len(rows_of(rare)) == 1
    for step in commit.complete_steps(Path(rare["output_dir"])):
        assert tensors(rare, step) == tensors(whole, step)


def tensors(config, step):
    """The bytes of a checkpoint's tensors, by file."""
    folder = Path(config["output_dir"]) / f"step{step}" / f"global_step{step}"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*/*.distcp"))}


def test_two_ranks_measure_the_same(whole, tiny_programme, held, tmp_path):
    config = config_of(tiny_programme, held, tmp_path / "stage", validating={"validation_per_step": 2})
    tiny.run(config, ranks=2)
    close(figures(config), figures(whole))


def test_a_resumed_stage_has_the_evaluations_of_one_that_never_stopped(whole, tiny_programme, held, tmp_path):
    config = config_of(tiny_programme, held, tmp_path / "stage", validating={"validation_per_step": 2})
    tiny.run({**config, "duration": {**config["duration"], "max_steps": 5}})
    tiny.run(config)
    kept = [row for row in figures(config) if row["step"] != 5]
    assert kept == figures(whole)


def test_a_fraction_of_the_training_data_is_held_out_and_evaluated(tiny_programme, tmp_path):
    store_dir = str(tiny_programme / "store")
    data = {"datasets": [{"name": "tiny", "store_dir": store_dir, "validation_fraction": 0.2}]}
    config = tiny.train_config(tiny_programme, tmp_path / "stage", data=data)
    tiny.run(config)
    trained = sum(row["samples"] for row in tiny.metrics(config))
    evaluated = rows_of(config)[-1]["samples"]
    assert 0 < evaluated < 30
    assert trained + evaluated == len(Store(store_dir))
    assert DataOrder.model_validate_json(json.dumps(config["data"])).datasets[0].validation_fraction == 0.2


def test_without_validation_data_nothing_is_written(tiny_programme, tmp_path):
    config = tiny.train_config(tiny_programme, tmp_path / "stage", duration={"max_steps": 2})
    tiny.run(config)
    assert not (tmp_path / "stage" / "validation.jsonl").exists()
