"""Disks that run full, cannot be written to or do not flush: exit 9 with the place, and nothing is lost."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from onerec.checkpoint import commit
from tests import tiny
from tests.checkpoint.test_crashes import final_bits

LOSEFS = Path(__file__).parents[1] / "testbeds" / "faults" / "losefs.py"
ROOM_FOR_TWO, ROOM = "2400k", "64m"
STORAGE = 9


def config(folder, output_dir):
    return tiny.train_config(
        folder, output_dir, checkpoint={"save_checkpoint_per_step": 3, "keep_checkpoints": 9}
    )


@pytest.fixture(scope="module")
def whole(tiny_programme, tmp_path_factory):
    """The stage on a sound disk."""
    told = config(tiny_programme, tmp_path_factory.mktemp("whole") / "stage")
    tiny.run(told)
    return told


def assert_as_on_a_sound_disk(stage, whole):
    assert tiny.curve(stage) == tiny.curve(whole)
    assert final_bits(Path(stage["output_dir"])) == final_bits(Path(whole["output_dir"]))


@pytest.fixture
def disk(tmp_path):
    """A real file system of its own in memory, with room for two checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM_FOR_TWO}", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder, option):
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def test_a_full_disk_ends_the_stage_with_its_need_and_the_same_command_goes_on(whole, tiny_programme, disk):
    stage = config(tiny_programme, disk / "stage")
    done = tiny.run(stage, expect=STORAGE)
    saved = commit.complete_steps(disk / "stage")
    assert saved
    assert f"the checkpoint of step {saved[-1]} stands" in done.stderr
    assert re.search(
        rf"step {saved[-1] + 3} needs [\d.]+ MB and {disk / 'stage'} has [\d.]+ MB free", done.stderr
    )
    assert "Traceback" not in done.stderr
    assert [commit.damage(commit.step_dir(disk / "stage", step)) for step in saved] == [None] * len(saved)
    remount(disk, f"size={ROOM}")
    tiny.run(stage)
    assert_as_on_a_sound_disk(stage, whole)


def test_a_disk_that_became_read_only_is_told_and_changes_nothing(whole, tiny_programme, disk):
    stage = config(tiny_programme, disk / "stage")
    remount(disk, f"size={ROOM}")
    tiny.run({**stage, "duration": {"packs_per_step": 2, "max_steps": 6}})
    remount(disk, "ro")
    command = tiny.command(config(tiny_programme, disk.parent / "orders"))
    orders = Path(command[-1])
    orders.write_text(orders.read_text().replace(str(disk.parent / "orders"), str(disk / "stage")))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=tiny.environment(), timeout=120
    )
    assert done.returncode == STORAGE, done.stderr
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr
    assert commit.complete_steps(disk / "stage") == [3, 6]
    remount(disk, "rw")
    tiny.run(stage)
    assert_as_on_a_sound_disk(stage, whole)


@contextmanager
def losing(folder, **faults):
    """A FUSE file system over `folder`, with faults; skipped where FUSE is not to be had."""
    pytest.importorskip("mfusepy", reason="needs mfusepy from PyPI", exc_type=ImportError)
    if shutil.which("fusermount3") is None or not Path("/dev/fuse").exists():
        pytest.skip("needs Debian's fuse3 and /dev/fuse")
    root, mount = folder / "root", folder / "mount"
    root.mkdir(exist_ok=True)
    mount.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, LOSEFS, root, mount], env={**os.environ, **faults})
    try:
        deadline = time.monotonic() + 20
        while not mount.is_mount():
            assert process.poll() is None, "losefs has ended"
            assert time.monotonic() < deadline, "losefs did not mount"
            time.sleep(0.02)
        yield mount
    finally:
        subprocess.run(["fusermount3", "-u", "-z", mount], check=False)
        process.wait(timeout=20)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (
            {"LOSEFS_BYTES": "1000000"},
            "No space left on device|unexpected pos",
        ),
        ({"LOSEFS_FSYNC_EIO": "1"}, "Input/output error"),
    ],
    ids=["full in the middle of a file", "fsync fails"],
)
def test_a_failing_disk_ends_the_stage_and_commits_nothing_that_it_did_not_flush(
    whole, tiny_programme, tmp_path, faults, words
):
    with losing(tmp_path) as mount:
        stage = config(tiny_programme, mount / "stage")
        tiny.run({**stage, "duration": {"packs_per_step": 2, "max_steps": 3}})
    with losing(tmp_path, **faults) as mount:
        done = tiny.run(stage, expect=STORAGE)
        assert any(word in done.stderr for word in words.split("|")), done.stderr
        assert "free space or mend the disk, then" in done.stderr
        assert "Traceback" not in done.stderr
        saved = commit.complete_steps(mount / "stage")
        assert saved[0] == 3
        assert [commit.damage(commit.step_dir(mount / "stage", step)) for step in saved] == [None] * len(
            saved
        )
    with losing(tmp_path) as mount:
        tiny.run(stage)
        assert_as_on_a_sound_disk(stage, whole)
