"""Saving beside the training: what is saved, what goes wrong, and when it is told."""

import json
import threading
import time
from pathlib import Path

import pytest
import torch

from onerec.checkpoint import commit, saver, tensors
from onerec.checkpoint.retention import Retention
from onerec.checkpoint.saver import Saver
from onerec.checkpoint.state import TrainerState
from onerec.distributed import World, process_group
from onerec.errors import StorageError
from tests import tiny

ALONE = World(0, 1, 0, 1, "single")


@pytest.fixture(scope="module", autouse=True)
def group():
    with process_group(ALONE, device=torch.device("cpu"), env={}):
        yield


@pytest.fixture
def stage(tmp_path):
    return tmp_path


def state(step):
    return TrainerState(step=step, loss=1.0, data={"at": step}, packs_per_step=1, counts={}, run={})


def named(value, size=4):
    return {"model": {"weight": torch.full((size,), float(value))}, "optimizer": {"moment": torch.ones(size)}}


def open_saver(stage, **options):
    return Saver(stage, world=ALONE, attempt="1", retention=options.pop("retention", Retention(9)), **options)


def loaded(stage, step):
    wanted = {"weight": torch.zeros(4)}
    folder = commit.data_dir(commit.step_dir(stage, step)) / "model"
    tensors.read(wanted, folder, whose="it", alone=True)
    return wanted["weight"].tolist()


def fail_while_saving(stage):
    """A trainer whose own error comes while a checkpoint is on its way."""
    mine = open_saver(stage)

    def train():
        with mine:
            mine.start(state(1), named(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()


class Gate:
    """Holds every writing thread until it is opened; then things go on as they always do."""

    def __init__(self, monkeypatch, fault=None):
        self.opened, self.waiting, self._write, self._fault = threading.Event(), 0, saver.write, fault
        monkeypatch.setattr(saver, "write", self)

    def __call__(self, *arguments, **options):
        self.waiting += 1
        assert self.opened.wait(30)
        if self._fault:
            raise self._fault
        self._write(*arguments, **options)


def test_what_is_saved_is_what_was_there_at_the_start_however_long_the_disk_takes(stage, monkeypatch):
    gate = Gate(monkeypatch)
    trained = named(1)
    with open_saver(stage) as mine:
        mine.start(state(1), trained)
        trained["model"]["weight"].fill_(2.0)
        assert commit.complete_steps(stage) == []
        gate.opened.set()
    assert loaded(stage, 1) == [1.0] * 4


def test_one_save_is_on_its_way_at_a_time(stage, monkeypatch):
    gate = Gate(monkeypatch)
    with open_saver(stage) as mine:
        mine.start(state(1), named(1))
        opener = threading.Timer(0.2, gate.opened.set)
        opener.start()
        began = time.monotonic()
        mine.start(state(2), named(2))
        assert time.monotonic() - began >= 0.19
        assert commit.complete_steps(stage)[0] == 1
    assert (loaded(stage, 1), loaded(stage, 2)) == ([1.0] * 4, [2.0] * 4)


def test_a_failed_save_is_told_by_the_next_look_and_leaves_the_one_before(stage, monkeypatch):
    with open_saver(stage) as mine:
        mine.start(state(1), named(1))
        mine.finish()
        Gate(monkeypatch, fault=OSError(28, "No space left on device")).opened.set()
        mine.start(state(2), named(2))
        while not mine.has_failed:
            time.sleep(0.01)
        with pytest.raises(StorageError, match=r"No space left on device.*then resume"):
            mine.finish()
        assert not mine.has_failed
    assert commit.complete_steps(stage) == [1]
    assert (stage / "latest").read_text() == "step1\n"


def test_a_failed_save_is_raised_before_another_begins(stage, monkeypatch):
    Gate(monkeypatch, fault=OSError(5, "Input/output error")).opened.set()
    mine = open_saver(stage)
    mine.start(state(1), named(1))
    with pytest.raises(StorageError, match="Input/output error"):
        mine.start(state(2), named(2))


def test_an_error_of_the_training_lets_the_save_on_its_way_end(stage, monkeypatch):
    gate = Gate(monkeypatch)
    threading.Timer(0.3, gate.opened.set).start()
    fail_while_saving(stage)
    assert commit.complete_steps(stage) == [1]


def test_an_error_of_the_training_is_not_hidden_by_a_save_that_fails_too(stage, monkeypatch, capsys):
    Gate(monkeypatch, fault=OSError(5, "Input/output error")).opened.set()
    fail_while_saving(stage)
    assert "was not completed" in capsys.readouterr().err


def test_a_save_that_never_ends_is_given_up_by_an_ending_trainer(stage, monkeypatch, capsys):
    gate = Gate(monkeypatch)
    monkeypatch.setattr(saver, "LAST_WAIT_SECONDS", 0.1)
    fail_while_saving(stage)
    assert "given up" in capsys.readouterr().err
    gate.opened.set()


def test_a_disk_without_room_is_told_before_anything_is_written(stage, monkeypatch):
    with open_saver(stage) as mine:
        mine.start(state(1), named(1))
        mine.finish()
        usage = saver.shutil.disk_usage(stage)
        monkeypatch.setattr(saver.shutil, "disk_usage", lambda _: usage._replace(free=10**6))
        with pytest.raises(StorageError) as told:
            mine.start(state(2), named(2, size=10**6))
    assert "step 2 needs 9.2 MB" in str(told.value)
    assert "1.0 MB free; nothing was written, the checkpoint of step 1 stands" in str(told.value)
    assert sorted(path.name for path in stage.iterdir()) == ["latest", "step1"]


def test_a_file_system_that_tells_no_size_is_tried(stage, monkeypatch):
    usage = saver.shutil.disk_usage(stage)
    monkeypatch.setattr(saver.shutil, "disk_usage", lambda _: usage._replace(total=0, free=0))
    with open_saver(stage) as mine:
        mine.start(state(1), named(1))
    assert commit.complete_steps(stage) == [1]


def test_copies_are_made_in_the_same_memory_every_time(stage):
    trained = named(1)
    with open_saver(stage) as mine:
        first, second = (mine._staged(trained)["model"]["weight"] for _ in range(2))
    assert first.data_ptr() == second.data_ptr() != trained["model"]["weight"].data_ptr()


def test_old_ones_go_and_each_complete_one_is_told(stage):
    told = []
    with open_saver(stage, retention=Retention(1), on_saved=told.append) as mine:
        for step in (1, 2, 3):
            mine.start(state(step), named(step))
            assert (saved := mine.finish()) is not None
    assert [one.folder for one in told] == [stage / f"step{step}" for step in (1, 2, 3)]
    assert told[-1] == saved
    assert 0 <= saved.stall_seconds < 5
    assert 0 < saved.write_seconds < 5
    assert (saved.step, saved.folder, saved.pruned) == (3, stage / "step3", (2,))
    assert commit.complete_steps(stage) == [3]


def test_digests_of_all_files_are_in_the_record(stage):
    with open_saver(stage) as mine:
        mine.start(state(1), named(1))
    folder = stage / "step1"
    record = json.loads((folder / commit.COMMIT_NAME).read_text())
    there = {path.relative_to(folder).as_posix(): path.stat().st_size for path in commit.files_in(folder)}
    assert record["bytes"] == {name: size for name, size in there.items() if name != commit.COMMIT_NAME}
    assert set(record["sha256"]) == set(record["bytes"])
    assert commit.damage(folder) is None


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"save_checkpoint_per_step": 100}, 1),
        ({"save_checkpoint_per_step": 100, "save_checkpoint_per_minutes": 1e-6}, None),
        ({"save_checkpoint_per_step": 100, "save_checkpoint_per_minutes": 60.0}, 1),
    ],
)
def test_the_clock_saves_as_the_number_of_steps_does(tiny_programme, tmp_path, settings, steps):
    config = tiny.train_config(
        tiny_programme, tmp_path / "stage", checkpoint={**settings, "keep_checkpoints": 99}
    )
    tiny.run(config)
    total = tiny.metrics(config)[-1]["step"]
    saved = commit.complete_steps(Path(config["output_dir"]))
    assert saved == (list(range(1, total + 1)) if steps is None else [total])
