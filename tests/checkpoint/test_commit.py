"""What makes a checkpoint complete, which one is taken, and which may go."""

import json

import pytest

from onerec.checkpoint import choose, commit
from onerec.checkpoint.retention import Retention, prune, remove_leftovers
from onerec.errors import ConfigError, StorageError


def save(stage_dir, step, payload="weights"):
    temporary = commit.begin(stage_dir, step, attempt="1")
    (commit.data_dir(temporary) / "model").mkdir()
    (commit.data_dir(temporary) / "model" / "shard").write_text(payload)
    return commit.commit(temporary, stage_dir, step)


def test_steps_are_ordered_as_numbers_and_only_committed_ones_count(tmp_path):
    for step in (9, 100, 10):
        save(tmp_path, step)
    commit.begin(tmp_path, 200, attempt="1")
    (tmp_path / "step300" / "global_step300").mkdir(parents=True)
    assert commit.complete_steps(tmp_path) == [9, 10, 100]
    assert (tmp_path / "latest").read_text() == "step10\n"
    assert choose.newest_sound(tmp_path, report=[]) == tmp_path / "step100"


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "exchange"])
def test_a_damaged_checkpoint_is_named_and_set_aside_and_the_one_before_is_taken(tmp_path, harm):
    save(tmp_path, 1)
    shard = save(tmp_path, 2) / "global_step2" / "model" / "shard"
    {
        "flip": lambda: shard.write_text("wEights"),
        "truncate": lambda: shard.write_text("weig"),
        "remove": shard.unlink,
        "exchange": lambda: shard.write_text("weights of another step"),
    }[harm]()
    report = []
    assert choose.newest_sound(tmp_path, report=report) == tmp_path / "step1"
    assert len(report) == 1
    assert str(shard) in report[0]
    assert (tmp_path / "step2.quarantined-1").is_dir()
    assert commit.complete_steps(tmp_path) == [1]
    assert (tmp_path / "latest").read_text() == "step1\n"


def test_when_every_checkpoint_is_damaged_nothing_starts_afresh(tmp_path):
    (save(tmp_path, 1) / "global_step1" / "model" / "shard").write_text("other")
    for _ in range(2):
        with pytest.raises(StorageError, match="no sound checkpoint is left"):
            choose.newest_sound(tmp_path, report=[])
    assert commit.complete_steps(tmp_path) == [1]


def test_a_stage_whose_only_checkpoint_was_set_aside_does_not_start_afresh(tmp_path):
    commit.quarantine(save(tmp_path, 1))
    with pytest.raises(StorageError, match="no sound checkpoint is left"):
        choose.newest_sound(tmp_path, report=[])


def test_a_stage_without_checkpoints_has_none(tmp_path):
    assert choose.newest_sound(tmp_path, report=[]) is None


@pytest.mark.parametrize("tag", ["step5", "global_step5", "step5/global_step5", None])
def test_resume_from_understands_every_spelling_of_a_tag(tmp_path, tag):
    save(tmp_path, 4)
    save(tmp_path, 5)
    assert choose.find(tmp_path, tag=tag) == tmp_path / "step5"


def test_resume_from_may_be_a_step_folder(tmp_path):
    save(tmp_path, 4)
    assert choose.find(tmp_path / "step4", tag=None) == tmp_path / "step4"
    assert choose.find(tmp_path / "step4", tag="global_step4") == tmp_path / "step4"


@pytest.mark.parametrize("tag", ["step7", "seven", "global_step40"])
def test_a_named_checkpoint_that_is_not_there_is_an_error_that_lists_those_there_are(tmp_path, tag):
    save(tmp_path, 4)
    save(tmp_path, 5)
    with pytest.raises(ConfigError, match="complete checkpoints there: step4, step5"):
        choose.find(tmp_path, tag=tag)


def test_pruning_keeps_the_newest_and_every_kth(tmp_path):
    for step in range(10, 80, 10):
        save(tmp_path, step)
    assert prune(tmp_path, Retention(2, 30)) == [10, 20, 40, 50]
    assert commit.complete_steps(tmp_path) == [30, 60, 70]


@pytest.mark.parametrize("name", ["converted", "converted-fp32", ".converted.tmp"])
def test_a_checkpoint_that_somebody_converts_stays(tmp_path, name):
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "step1" / "global_step1" / name).mkdir()
    assert prune(tmp_path, Retention(1)) == [2]


def test_the_only_checkpoint_is_never_pruned(tmp_path):
    save(tmp_path, 1)
    assert prune(tmp_path, Retention(1)) == []


def test_leftovers_of_interrupted_saves_go(tmp_path):
    save(tmp_path, 1)
    commit.begin(tmp_path, 2, attempt="1")
    (tmp_path / ".trash-step0").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step1"]


def test_the_commit_record_holds_the_digest_of_every_file(tmp_path):
    record = json.loads((save(tmp_path, 3) / commit.COMMIT_NAME).read_text())
    assert record["step"] == 3
    assert list(record["sha256"]) == ["global_step3/model/shard"]


def test_latest_names_the_checkpoint_that_is_taken_after_a_kill_before_it_was_moved(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    commit.point_latest(tmp_path, "step1")
    assert choose.newest_sound(tmp_path, report=[]) == tmp_path / "step2"
    assert (tmp_path / "latest").read_text() == "step2\n"
    (tmp_path / "latest").unlink()
    assert choose.newest_sound(tmp_path, report=[]) == tmp_path / "step2"
    assert (tmp_path / "latest").read_text() == "step2\n"


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"sha256": 3}', '{"sha256": {}}', '"COMMIT"'])
def test_a_commit_record_that_is_none_is_damage_of_its_checkpoint(tmp_path, record):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / commit.COMMIT_NAME
    path.write_text(record)
    assert str(path) in (commit.damage(tmp_path / "step2") or "")
    report = []
    assert choose.newest_sound(tmp_path, report=report) == tmp_path / "step1"
    assert str(path) in report[0]
