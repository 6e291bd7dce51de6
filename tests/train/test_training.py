"""A stage trained for real: the same numbers for any number of ranks, after any stop, from any checkpoint."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onerec.checkpoint import commit
from onerec.config import ConvertConfig
from onerec.convert import convert
from tests import tiny


def exported(config, folder):
    """The weights of a finished stage, exported in fp32."""
    stage_dir = Path(config["output_dir"])
    told = convert(
        ConvertConfig(
            output_dir=str(stage_dir / "convert"),
            stage_dir=str(stage_dir),
            model_dir=str(folder / "expanded" / "model"),
            dtype="fp32",
        )
    )
    return load_file(Path(told["model_dir"]) / "model.safetensors")


def result(config):
    return json.loads((Path(config["output_dir"]) / "result.json").read_text())


@pytest.fixture(scope="module")
def whole(tiny_programme, tmp_path_factory):
    """A stage trained to the end of its data by one process, never stopped."""
    config = tiny.train_config(tiny_programme, tmp_path_factory.mktemp("whole") / "stage")
    tiny.run(config)
    return config


def test_training_ends_with_the_data_and_the_loss_has_fallen(whole):
    rows = tiny.metrics(whole)
    told = result(whole)
    assert (told["reason"], told["step"], told["attempt"]) == ("data_end", told["total_steps"], 1)
    assert rows[-1]["loss"] < rows[0]["loss"] - 1.0
    assert commit.complete_steps(Path(whole["output_dir"]))[-1] == told["step"]
    assert {"itemic_loss", "text_loss", "learning_rate", "tokens_per_second", "source_loss"} <= set(rows[0])
    assert set(rows[0]["source_loss"]) <= {"history", "next_item"}


def test_every_sample_is_read_once(whole, tiny_programme):
    summary = json.loads((tiny_programme / "store" / "summary.json").read_text())
    assert sum(row["samples"] for row in tiny.metrics(whole)) == summary["samples"]
    assert sum(pair[1] for pair in result(whole)["counts"].values()) == summary["samples"]


@pytest.mark.parametrize("ranks", [2, 3])
def test_more_ranks_give_the_same_curve_and_the_same_weights(whole, tiny_programme, tmp_path, ranks):
    config = tiny.train_config(tiny_programme, tmp_path / "stage")
    tiny.run(config, ranks=ranks)
    for ours, one in zip(tiny.curve(config), tiny.curve(whole), strict=True):
        assert ours[:2] == pytest.approx(one[:2], rel=2e-5)
        assert ours[2] == pytest.approx(one[2], rel=2e-4)  # sums of squares in another order
    one_rank = exported(whole, tiny_programme)
    for name, tensor in exported(config, tiny_programme).items():
        torch.testing.assert_close(tensor, one_rank[name], rtol=0, atol=2e-4, msg=name)


@pytest.mark.parametrize(
    "change", ["gradient checkpointing", "one pack at a time", "small chunks", "workers"]
)
def test_settings_for_speed_and_memory_do_not_change_the_curve(whole, tiny_programme, tmp_path, change):
    changes = {
        "gradient checkpointing": {"compute": {"enable_gradient_checkpointing": True}},
        "one pack at a time": {"compute": {"use_chunked_loss_computer": False}},
        "small chunks": {"compute": {"minibatch_size": 7}},
        "workers": {"data": {"num_workers": 2}},
    }[change]
    config = tiny.train_config(tiny_programme, tmp_path / "stage", **changes)
    tiny.run(config)
    for ours, one in zip(tiny.curve(config), tiny.curve(whole), strict=True):
        assert ours == pytest.approx(one, rel=1e-5)


def test_a_stop_saves_exits_75_and_going_on_is_bit_identical(whole, tiny_programme, tmp_path):
    config = tiny.train_config(tiny_programme, tmp_path / "stage")
    Path(config["stop_file"]).touch()
    done = tiny.run(config, expect=75)
    assert "stopped after step 1" in done.stderr
    assert commit.complete_steps(tmp_path / "stage") == [1]
    assert not (tmp_path / "stage" / "result.json").exists()
    Path(config["stop_file"]).unlink()
    tiny.run(config)
    assert tiny.curve(config) == tiny.curve(whole)
    whole_weights = exported(whole, tiny_programme)
    for name, tensor in exported(config, tiny_programme).items():
        assert torch.equal(tensor, whole_weights[name]), name


def test_going_on_with_more_ranks_reads_the_same_packs(whole, tiny_programme, tmp_path):
    config = tiny.train_config(tiny_programme, tmp_path / "stage")
    tiny.run({**config, "duration": {"packs_per_step": 2, "max_steps": 4}})
    # a longer run of the same stage would be refused by the runner; here only the world changes
    tiny.run(config, ranks=2)
    for ours, one in zip(tiny.curve(config)[4:], tiny.curve(whole)[4:], strict=True):
        assert ours == pytest.approx(one, rel=2e-4)


def test_a_damaged_newest_checkpoint_costs_its_steps_and_is_told(whole, tiny_programme, tmp_path):
    stage = tmp_path / "stage"
    config = tiny.train_config(tiny_programme, stage)
    shutil.copytree(whole["output_dir"], stage)
    last = commit.complete_steps(stage)[-1]
    shard = next((stage / f"step{last}").rglob("*.distcp"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    done = tiny.run(config)
    assert f"step{last} is damaged" in done.stderr
    assert tiny.curve(config) == tiny.curve(whole)


def test_nan_stops_the_stage_by_name_before_the_update(tiny_programme, tmp_path):
    config = tiny.train_config(
        tiny_programme, tmp_path / "stage", optim={"learning_rate": 1e30, "max_grad_norm": 0.0}
    )
    done = tiny.run(config, expect=7)
    assert "is not finite" in done.stderr
    record = json.loads(next((tmp_path / "stage").glob("diverged-*.json")).read_text())
    assert record["uuids"]
    last = commit.complete_steps(tmp_path / "stage")[-1]
    assert record["step"] == last + 1
    assert commit.damage(tmp_path / "stage" / f"step{last}") is None
    position = json.loads(
        (tmp_path / "stage" / f"step{last}" / f"global_step{last}/trainer.json").read_text()
    )["data"]
    assert (position["epoch"], position["next_pack"]) == (0, 2 * last)


def test_resume_from_takes_everything_or_only_weights(whole, tiny_programme, tmp_path):
    first = {"resume_from": whole["output_dir"], "resume_from_tag": "global_step3"}
    everything = tiny.train_config(tiny_programme, tmp_path / "everything", checkpoint=first)
    tiny.run(everything)
    assert tiny.curve(everything) == tiny.curve(whole)[3:]
    weights = tiny.train_config(
        tiny_programme, tmp_path / "weights", checkpoint={**first, "resume_training_state": False}
    )
    tiny.run(weights)
    rows = tiny.curve(weights)
    assert [row[0] for row in rows] == [row[0] for row in tiny.curve(whole)]
    assert rows[0][1] < tiny.curve(whole)[0][1]


def test_a_finished_checkpoint_is_taken_over_and_one_past_the_end_is_refused(whole, tiny_programme, tmp_path):
    finished = {"resume_from": whole["output_dir"]}
    config = tiny.train_config(tiny_programme, tmp_path / "stage", checkpoint=finished)
    tiny.run(config)
    assert commit.complete_steps(tmp_path / "stage") == [result(whole)["step"]]
    past = tiny.train_config(
        tiny_programme, tmp_path / "past", checkpoint=finished, duration={"packs_per_step": 2, "max_steps": 3}
    )
    assert "the stage ends at step 3" in tiny.run(past, expect=2).stderr


def test_going_on_with_other_steps_or_from_other_weights_is_refused(
    whole, tiny_programme, tiny_untied, tmp_path
):
    taken = {"resume_from": whole["output_dir"]}
    other = tiny.train_config(
        tiny_programme, tmp_path / "a", checkpoint=taken, duration={"packs_per_step": 5}
    )
    assert "packs_per_step = 5" in tiny.run(other, expect=2).stderr
    other = tiny.train_config(
        tiny_programme,
        tmp_path / "b",
        checkpoint=taken,
        model={"model_dir": str(tiny_untied / "expanded/model")},
    )
    assert "started from other weights" in tiny.run(other, expect=4).stderr


def test_a_resume_tag_that_is_not_there_is_an_error_not_a_fresh_start(whole, tiny_programme, tmp_path):
    missing = {"resume_from": whole["output_dir"], "resume_from_tag": "step4000"}
    done = tiny.run(tiny.train_config(tiny_programme, tmp_path / "stage", checkpoint=missing), expect=2)
    assert "complete checkpoints there: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("tied", [True, False])
def test_stage_one_trains_the_new_rows_and_leaves_every_other_weight_bit_identical(
    tiny_programme, tiny_untied, tmp_path, tied, ranks
):
    folder = tiny_programme if tied else tiny_untied
    config = tiny.train_config(folder, tmp_path / "stage", trainable={"freeze_llm": True})
    tiny.run(config, ranks=ranks)
    before = load_file(folder / "expanded" / "model" / "model.safetensors")
    after = exported(config, folder)
    first = json.loads((folder / "expanded" / "model" / "onerec_vocab.json").read_text())["first_id"]
    tables = {"model.embed_tokens.weight"} if tied else {"model.embed_tokens.weight", "lm_head.weight"}
    assert set(before) == set(after)
    for name, tensor in before.items():
        if name in tables:
            assert torch.equal(after[name][:first], tensor[:first]), name
            assert (after[name][first : first + 24] != tensor[first : first + 24]).any(dim=1).all(), name
        else:
            assert torch.equal(after[name], tensor), name
    rows = tiny.metrics(config)
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_first_trained_row_may_be_chosen(tiny_programme, tmp_path):
    choice = {"freeze_llm": True, "start_optimize_embedding_index": 300}
    config = tiny.train_config(tiny_programme, tmp_path / "stage", trainable=choice)
    tiny.run(config)
    name = "model.embed_tokens.weight"
    before = load_file(tiny_programme / "expanded" / "model" / "model.safetensors")[name]
    after = exported(config, tiny_programme)[name]
    assert torch.equal(after[:300], before[:300])
    assert (after[300:] != before[300:]).any(dim=1).all()


def test_a_row_outside_the_table_is_refused(tiny_programme, tmp_path):
    choice = {"freeze_llm": True, "start_optimize_embedding_index": 100_000}
    done = tiny.run(tiny.train_config(tiny_programme, tmp_path / "stage", trainable=choice), expect=2)
    assert "start_optimize_embedding_index 100000 is outside the table" in done.stderr


def test_bf16_weights_train_too(tiny_programme, tmp_path):
    numbers = {"use_fp32_weight": False, "use_fp32_reduce": False, "compute_dtype": "bf16"}
    config = tiny.train_config(tiny_programme, tmp_path / "stage", compute=numbers)
    tiny.run(config)
    rows = tiny.metrics(config)
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5


def test_the_profiler_writes_one_trace(tiny_programme, tmp_path):
    config = tiny.train_config(
        tiny_programme, tmp_path / "stage", monitor={"enable_profiler": True}, duration={"max_steps": 6}
    )
    tiny.run(config)
    trace = json.loads((tmp_path / "stage" / "profile" / "attempt-1-rank-00000.json").read_text())
    assert trace["traceEvents"]


def test_changed_data_is_refused_with_the_difference(tiny_programme, tmp_path):
    config = tiny.train_config(tiny_programme, tmp_path / "stage")
    tiny.run({**config, "duration": {"packs_per_step": 2, "max_steps": 3}})
    done = tiny.run({**config, "data": {**config["data"], "shuffle_seed": 6}}, expect=4)
    assert "seed" in done.stderr
