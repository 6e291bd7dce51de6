"""The loop of a stage: what is known a step later is counted, saved and told as if it were known at once."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from onerec.checkpoint import commit
from onerec.config import DataOrder
from onerec.data.loading.load import PackLoader
from tests import tiny

SEVERAL_EPOCHS = {"num_epochs": 3}


@pytest.fixture(scope="module")
def watched(tiny_programme, tmp_path_factory):
    """A stage of three epochs that logs every step."""
    config = tiny.train_config(
        tiny_programme, tmp_path_factory.mktemp("watched") / "stage", data=SEVERAL_EPOCHS
    )
    tiny.run(config)
    return config


def test_silent_steps_change_no_number_and_every_logged_row_is_there(watched, tiny_programme, tmp_path):
    config = tiny.train_config(
        tiny_programme,
        tmp_path / "stage",
        data=SEVERAL_EPOCHS,
        monitor={"logging_per_step": 5},
        checkpoint={"save_checkpoint_per_step": 7, "keep_checkpoints": 9},
    )
    tiny.run(config)
    everything = {row[0]: row for row in tiny.curve(watched)}
    last = max(everything)
    assert [row[0] for row in tiny.curve(config)] == [*range(5, last, 5), last]
    assert all(row == everything[row[0]] for row in tiny.curve(config))
    assert commit.complete_steps(tmp_path / "stage") == [*range(7, last, 7), last]
    shares = [row["source_tokens_ratio"] for row in tiny.metrics(watched)]
    assert [row["source_tokens_ratio"] for row in tiny.metrics(config)] == [
        shares[row["step"] - 1] for row in tiny.metrics(config)
    ]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_bad_step_between_logged_ones_leaves_the_state_before_it(tiny_programme, tmp_path, ranks):
    """Both stages stop at the same step with the same position, however late they look."""
    told, weights = [], []
    for every in (1, 100):
        config = tiny.train_config(
            tiny_programme,
            tmp_path / f"every{every}",
            optim={"learning_rate": 1e30, "max_grad_norm": 0.0, "num_warmup_steps": 0},
            monitor={"logging_per_step": every},
            checkpoint={"save_checkpoint_per_step": 100},
        )
        done = tiny.run(config, ranks=ranks, expect=7 if ranks == 1 else 1)
        assert "is not finite" in done.stderr + done.stdout
        folder = Path(config["output_dir"])
        (step,) = commit.complete_steps(folder)
        state = json.loads((folder / f"step{step}/global_step{step}/trainer.json").read_text())
        records = {path.name: json.loads(path.read_text()) for path in folder.glob("diverged-*.json")}
        assert {record["step"] for record in records.values()} == {step + 1}
        told.append((step, state["data"], state["counts"], records))
        weights.append(load_file(tiny.export(config, tiny_programme) / "model.safetensors"))
    assert told[0] == told[1]
    for name, tensor in weights[0].items():
        assert tensor.isfinite().all(), name
        assert torch.equal(tensor, weights[1][name]), name


def poisoned(folder, tmp_path):
    """A model with one embedding row of NaN; the step that reads it first, and the one pack that does."""
    order = DataOrder.model_validate_json(json.dumps(tiny.train_config(folder, tmp_path / "x")["data"]))
    loader = PackLoader(order, rank=0, world_size=1, packs_per_step=2, pad_to=None)
    known = set()
    for number, step in enumerate(loader, start=1):
        tokens = [set(pack.input_ids_T.tolist()) for pack in step.packs]
        fresh = sorted((tokens[0] ^ tokens[1]) - known) if number > 1 else []
        known |= tokens[0] | tokens[1]
        if fresh:
            break
    model = shutil.copytree(folder / "expanded" / "model", tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["model.embed_tokens.weight"][fresh[0]] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    return model, number, next(pack for pack in step.packs if fresh[0] in set(pack.input_ids_T.tolist()))


def test_only_the_pack_that_is_bad_is_written_down(tiny_untied, tmp_path):
    model, number, bad = poisoned(tiny_untied, tmp_path)
    config = tiny.train_config(
        tiny_untied,
        tmp_path / "stage",
        model={"model_dir": str(model)},
        optim={"max_grad_norm": 0.0, "weight_decay": 0.0},
    )
    tiny.run(config, ranks=2, expect=1)
    records = [json.loads(path.read_text()) for path in (tmp_path / "stage").glob("diverged-*.json")]
    assert records == [{"step": number, "rank": bad.pack % 2, "uuids": list(bad.uuids)}]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loss_that_stands_out_is_told_with_the_samples_of_its_packs(
    watched, tiny_programme, tmp_path, ranks
):
    config = tiny.train_config(
        tiny_programme,
        tmp_path / "stage",
        data=SEVERAL_EPOCHS,
        monitor={"loss_spike_deviations": 0.01},
        optim={"learning_rate": 1e-6},
    )
    done = tiny.run(config, ranks=ranks)
    records = [json.loads(path.read_text()) for path in (tmp_path / "stage").glob("spike-step*.json")]
    assert records
    losses = {row["step"]: row["loss"] for row in tiny.metrics(config)}
    for record in records:
        assert record["loss"] == losses[record["step"]] > record["usual"]
        assert f"step {record['step']}: loss" in done.stderr + done.stdout
        assert all(pack["uuids"] for pack in record["packs"])
        assert {pack["pack"] // 2 for pack in record["packs"]} == {record["step"] - 1}


def test_only_the_chosen_steps_are_traced(tiny_programme, tmp_path):
    config = tiny.train_config(
        tiny_programme,
        tmp_path / "stage",
        monitor={"enable_profiler": True, "profiler_steps": [2, 2]},
        duration={"max_steps": 4},
    )
    tiny.run(config)
    trace = json.loads((tmp_path / "stage" / "profile" / "attempt-1-rank-00000.json").read_text())
    updates = [one for one in trace["traceEvents"] if one.get("name", "").startswith("Optimizer.step")]
    assert len({one["ts"] for one in updates if one.get("ph") == "X"}) == 1


def test_a_trace_that_cannot_be_written_costs_a_warning(watched, tiny_programme, tmp_path):
    stage = tmp_path / "stage"
    stage.mkdir()
    (stage / "profile").write_text("in the way")
    config = tiny.train_config(
        tiny_programme, stage, monitor={"enable_profiler": True}, duration={"max_steps": 6}
    )
    done = tiny.run(config)
    assert "cannot be written, training goes on" in done.stderr


def test_a_deterministic_stage_has_the_same_curve(watched, tiny_programme, tmp_path):
    config = tiny.train_config(
        tiny_programme, tmp_path / "stage", data=SEVERAL_EPOCHS, compute={"deterministic": True}
    )
    tiny.run(config)
    assert tiny.curve(config) == tiny.curve(watched)
