"""Where a conversion writes: never over anything, one at a time, and nothing that was pruned comes back."""

import fcntl
import json
import resource
import shutil
import subprocess
import sys

import pytest

from onerec import convert as program
from onerec.checkpoint.retention import Retention, is_in_use, prune
from onerec.convert import convert
from onerec.errors import ConfigError, StorageError
from onerec.export import place
from tests import tiny
from tests.export.test_convert import conversion

STORAGE = 9


def data(stage_dir):
    return stage_dir / "step3" / "global_step3"


def program_of(config, path):
    """The command that converts, as the runner calls it."""
    path.write_text(config.model_dump_json())
    return [sys.executable, "-m", "onerec", str(path)]


def test_a_folder_that_a_person_put_there_is_not_written_over(copy, tiny_programme, tmp_path):
    (data(copy) / "converted").mkdir()
    (data(copy) / "converted" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is there and no converted folder; move it away"):
        convert(conversion(copy, tiny_programme, tmp_path))
    assert [path.name for path in (data(copy) / "converted").iterdir()] == ["mine.txt"]


def test_a_conversion_that_became_damaged_is_told_and_kept(copy, tiny_programme, tmp_path):
    config = conversion(copy, tiny_programme, tmp_path)
    convert(config)
    (data(copy) / "converted" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(StorageError, match=r"was converted and is damaged: .*model\.safetensors"):
        convert(config)
    assert (data(copy) / "converted" / "model.safetensors").read_bytes() == b"half"


def test_two_conversions_of_a_checkpoint_follow_each_other(copy, tiny_programme, tmp_path):
    running = [
        subprocess.Popen(
            program_of(
                conversion(copy, tiny_programme, tmp_path).model_copy(
                    update={"output_dir": str(tmp_path / f"records-{number}")}
                ),
                tmp_path / f"{number}.json",
            ),
            stdout=subprocess.PIPE,
            text=True,
            env=tiny.environment(),
        )
        for number in range(2)
    ]
    with (copy / "step3" / "COMMIT.json").open("rb+") as mark:  # so that they meet
        fcntl.flock(mark, fcntl.LOCK_EX)
        for process in running:
            assert "waiting for its end" in process.stdout.readline()
        assert not (data(copy) / "converted").exists()
    told = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert ["is there already" in text for text in told].count(True) == 1


def test_what_killed_conversions_left_is_removed_whatever_its_format(copy, tiny_programme, tmp_path):
    (data(copy) / ".converted-fp32.tmp").mkdir()
    assert is_in_use(copy / "step3")
    with pytest.raises(ConfigError):
        convert(conversion(copy, tiny_programme, tmp_path).model_copy(update={"model_dir": str(tmp_path)}))
    assert not is_in_use(copy / "step3")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_checkpoint_that_is_pruned_under_a_conversion_is_told_and_stays_away(
    copy,
    tiny_programme,
    tmp_path,
    monkeypatch,
    moment,
):
    """Pruning looks who is at work, then removes: a conversion may begin between the two."""
    shutil.copytree(copy / "step3", copy / "step4")
    pruned = []

    def prunes_first(*arguments, **options):
        monkeypatch.setattr("onerec.checkpoint.retention.is_in_use", lambda _: False)
        pruned.extend(prune(copy, Retention(1)))
        return real(*arguments, **options)

    name = {"before": "whole_folder", "after": "open_source"}[moment]
    real = getattr(program, name)
    monkeypatch.setattr(program, name, prunes_first)
    with pytest.raises(ConfigError, match="step3 was removed in the meantime; convert another step"):
        convert(conversion(copy, tiny_programme, tmp_path, step=3))
    assert pruned == [3]
    assert not (copy / "step3").exists()


def test_a_disk_without_room_is_told_before_anything_is_written(copy, tiny_programme, tmp_path, monkeypatch):
    usage = shutil.disk_usage(copy)
    monkeypatch.setattr(place.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"the tensors need .* GB, its disk has 0\.00 GB free; free space"):
        convert(conversion(copy, tiny_programme, tmp_path))
    assert not is_in_use(copy / "step3")


def test_a_disk_that_fills_ends_with_the_code_of_storage_and_leaves_nothing(copy, tiny_programme, tmp_path):
    command = program_of(conversion(copy, tiny_programme, tmp_path), tmp_path / "config.json")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=tiny.environment(),
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )
    assert done.returncode == STORAGE, done.stderr
    assert "free space or mend the disk, then convert again" in done.stderr
    assert not is_in_use(copy / "step3")
    told = json.loads((copy / "step3" / "COMMIT.json").read_text())
    assert told["step"] == 3
