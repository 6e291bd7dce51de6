"""The programme of a manifest, run by the real runner: to its end, again, after kills, by every launcher."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.doctor import assert_healthy
from tests.tiny_run import (
    STAGES,
    checkpoint_bits,
    curves,
    environment,
    processes_of,
    runner,
    two_ranks,
    write_manifest,
)


@pytest.fixture(scope="module")
def undisturbed(tiny_programme, tmp_path_factory):
    """A run that nothing disturbed, with secrets in its environment and in a file."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "secrets.env").write_text("AWS_SECRET_ACCESS_KEY=planted-in-file\n")
    (folder / "secrets.env").chmod(0o600)
    manifest = write_manifest(folder, tiny_programme, cluster='launcher = "local"\nenv_file = "secrets.env"')
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SESSION_TOKEN"):
            patch.setenv(name, f"planted-{name}")
        done = runner(folder, manifest)
    assert "planted" not in done.stdout + done.stderr
    return folder, done.stdout


def test_a_manifest_runs_to_its_end_and_shows_where_everything_is(undisturbed):
    folder, shown = undisturbed
    status = json.loads(runner(folder, "status", "--json").stdout)
    assert status["state"] == "done"
    assert {stage["state"] for stage in status["stages"]} == {"done"}
    for expected in ("stage1", "stage2", "tensorboard --logdir", "converted"):
        assert expected in shown
    assert len(list((folder / "runs/tiny").glob("*/log/events.out.tfevents*"))) == len(STAGES)
    for stage, curve in curves(folder).items():
        assert curve[-1][1] < curve[0][1], stage


def test_every_file_of_the_run_directory_is_there(undisturbed):
    run = undisturbed[0] / "runs/tiny"
    for name in (
        "manifest.toml",
        "manifest.resolved.json",
        "environment.json",
        "events.jsonl",
        "data/mixed/summary.json",
        "stage2/config.json",
        "stage2/command.sh",
        "stage2/stdout.log",
        "stage2/stderr.log",
        "stage2/metrics.jsonl",
        "stage2/latest",
        "stage2/converted/model.safetensors",
    ):
        assert (run / name).exists(), name
    latest = (run / "stage2/latest").read_text().strip()
    inside = {path.name for path in (run / "stage2" / latest / f"global_{latest}").iterdir()}
    assert inside == {"model", "optimizer", "dataloader", "trainer.json", "converted"}
    assert (undisturbed[0] / "runs/latest").resolve() == run.resolve()


def test_no_secret_is_in_any_file_of_the_run_directory(undisturbed):
    files = [path for path in (undisturbed[0] / "runs").rglob("*") if path.is_file()]
    assert len(files) > 50
    assert [path for path in files if b"planted" in path.read_bytes()] == []


def test_the_doctor_finds_nothing(undisturbed):
    assert assert_healthy(undisturbed[0] / "runs/tiny").findings == ()


def test_running_it_again_does_nothing(undisturbed):
    folder, _ = undisturbed
    before = (folder / "runs/tiny/stage2/metrics.jsonl").stat().st_mtime_ns
    runner(folder, "tiny.toml")
    assert (folder / "runs/tiny/stage2/metrics.jsonl").stat().st_mtime_ns == before


def test_a_change_that_a_finished_stage_depends_on_is_refused_with_the_difference(undisturbed):
    folder, _ = undisturbed
    done = runner(folder, "tiny.toml", "--set", "stages.stage1.learning_rate=0.02", expect=4)
    assert "learning_rate" in done.stderr
    assert "0.01" in done.stderr
    assert "0.02" in done.stderr
    assert "--rerun" in done.stderr


def test_convert_by_step_lists_the_steps_there_are(undisturbed):
    folder, _ = undisturbed
    done = runner(folder, "convert", "--step", "4000", "--stage", "stage2", expect=2)
    assert "complete checkpoints are stage2: " in done.stderr
    latest = int((folder / "runs/tiny/stage2/latest").read_text().strip().removeprefix("step"))
    runner(folder, "convert", "--step", latest, "--stage", "stage2", "--dtype", "fp32")
    assert (
        folder / f"runs/tiny/stage2/step{latest}/global_step{latest}/converted-fp32/model.safetensors"
    ).exists()


def test_test_model_checks_a_folder(undisturbed):
    folder, _ = undisturbed
    done = runner(folder, "test-model", folder / "runs/tiny/stage2/converted", "--json")
    assert {check["ok"] for check in json.loads(done.stdout)["checks"]} == {True}


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 24))]
)
def test_killed_anywhere_and_run_again_it_ends_as_if_never_killed(
    undisturbed, tiny_programme, tmp_path, seed
):
    manifest = write_manifest(tmp_path, tiny_programme)
    pick = random.Random(seed)
    kills = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "runner", str(manifest)],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=pick.uniform(2, 25))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            deadline = time.monotonic() + 10
            while processes_of(tmp_path) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not processes_of(tmp_path)
            if (tmp_path / "runs/tiny").exists():
                assert_healthy(tmp_path / "runs/tiny")
    runner(tmp_path, manifest)
    assert_healthy(tmp_path / "runs/tiny")
    assert curves(tmp_path) == curves(undisturbed[0])
    assert kills


@pytest.fixture(scope="module")
def by_torchrun(tiny_programme, tmp_path_factory):
    """A run on two ranks under torchrun."""
    folder = tmp_path_factory.mktemp("torchrun")
    runner(folder, write_manifest(folder, tiny_programme, cluster=two_ranks(folder, "torchrun")))
    assert_healthy(folder / "runs/tiny", without_warnings=True)
    return folder


def test_two_ranks_give_the_same_curves_as_one(undisturbed, by_torchrun):
    for stage, curve in curves(by_torchrun).items():
        for ours, alone in zip(curve, curves(undisturbed[0])[stage], strict=True):
            assert ours == pytest.approx(alone, rel=5e-5)


def test_a_run_that_torchrun_began_ends_under_mpirun_with_the_same_bits(
    by_torchrun, tiny_programme, tmp_path
):
    after, before = two_ranks(tmp_path, "mpirun"), two_ranks(tmp_path, "torchrun")
    interrupt_in_stage2(tmp_path, write_manifest(tmp_path, tiny_programme, cluster=before))
    runner(tmp_path, write_manifest(tmp_path, tiny_programme, cluster=after))
    assert_healthy(tmp_path / "runs/tiny", without_warnings=True)
    assert curves(tmp_path) == curves(by_torchrun)
    newest = (tmp_path / "runs/tiny/stage2/latest").read_text().strip()
    assert checkpoint_bits(tmp_path, newest) == checkpoint_bits(by_torchrun, newest)


def interrupt_in_stage2(folder, manifest):
    """Run, and press Ctrl-C once stage 2 has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", str(manifest)], cwd=folder, env=environment(folder)
    )
    started = folder / "runs/tiny/stage2/logs/attempt-1/rank-00000.pid.json"
    deadline = time.monotonic() + 120
    while not started.exists():  # the stage sees the stop after its first step, seconds later
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130


def test_ctrl_c_stops_at_a_step_with_a_checkpoint_and_the_run_goes_on(undisturbed, tiny_programme, tmp_path):
    manifest = write_manifest(tmp_path, tiny_programme)
    interrupt_in_stage2(tmp_path, manifest)
    assert (tmp_path / "runs/tiny/stage2/latest").read_text() == "step1\n"
    assert_healthy(tmp_path / "runs/tiny", without_warnings=True)
    runner(tmp_path, "resume")
    assert_healthy(tmp_path / "runs/tiny", without_warnings=True)
    assert curves(tmp_path) == curves(undisturbed[0])


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (('base_model_dir = "', 'base_model_dir = "/nowhere'), (3,), "/nowhere"),
        (('sources = "', 'sources = "/nowhere'), (3,), "/nowhere"),
        (("learning_rate = 5e-3", "learnig_rate = 5e-3"), (2,), "did you mean 'learning_rate'"),
        (("[datasets.mixed]", "[datasets.mixed]\nitemic_id_range = [5, 30]"), (2, 3), "itemic_id_range"),
        (('launcher = "local"', 'launcher = "mpirun"\nhostfile = "/nowhere"'), (2, 3), "/nowhere"),
    ],
    ids=["base model", "dataset", "misspelt key", "itemic range", "hostfile"],
)
def test_wrong_input_is_told_before_anything_starts(tiny_programme, tmp_path, change, code, told):
    manifest = write_manifest(tmp_path, tiny_programme)
    manifest.write_text(manifest.read_text().replace(*change, 1))
    done = subprocess.run(
        [sys.executable, "-m", "runner", str(manifest)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in code, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs/tiny/expand").exists()
