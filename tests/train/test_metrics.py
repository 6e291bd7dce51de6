"""Rows of figures: what is kept on resume, the tags that TensorBoard gets, faults that cost a warning."""

import json
import os
import re
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from onerec.config import Monitoring
from onerec.train.board import Board
from onerec.train.metrics import (
    Reporter,
    Window,
    board_scalars,
    console_line,
    keep_rows_until,
    running_totals,
    shares,
    validation_scalars,
    write_divergence,
)
from tests import tiny

ROW = {
    "step": 5,
    "loss": 2.5,
    "itemic_loss": 2.0,
    "text_loss": None,
    "learning_rate": 1e-3,
    "grad_norm": 0.5,
    "seconds_per_step": 2.0,
    "tokens_per_second": 1234.5,
    "trained_tokens_per_second": 200.0,
    "samples_per_second": 3.0,
    "trained_share": 0.5,
    "total_tokens": 900,
    "total_samples": 9,
    "world_size": 2,
    "epoch": 0,
    "source_loss": {"history": 2.5},
    "source_tokens_ratio": {"history": 1.0},
    "source_samples_ratio": {"history": 0.75},
}
VALIDATION = {
    "step": 5,
    "loss": 2.5,
    "itemic_loss": 2.0,
    "text_loss": None,
    "source_loss": {"history": 2.5},
    "samples": 3,
    "seconds": 1.0,
}


@pytest.fixture
def reporter(tmp_path):
    """Makes reporters of a stage of a million steps, and closes them in the end."""
    made = []

    def make(*, start=0, tensorboard_dir=tmp_path / "log"):
        folders = {"output_dir": tmp_path, "tensorboard_dir": tensorboard_dir}
        made.append(Reporter("stage1", **folders, total_steps=10**6, start=start, monitor=Monitoring()))
        return made[-1]

    yield make
    for told in made:
        told.close()


def rows_at(*steps):
    return [{**ROW, "step": step, "loss": step / 8} for step in steps]


def tell(told, *steps):
    for row in rows_at(*steps):
        told.tell(row)


def losses(folder):
    """Step and loss of everything that TensorBoard shows of a folder."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("training/loss")]


def test_a_row_stands_in_every_place_and_is_shown_at_once(reporter, tmp_path, capsys):
    told = reporter()
    tell(told, 5, 10)
    told.tell_validation(VALIDATION)
    assert losses(tmp_path / "log") == [(5, 0.625), (10, 1.25)]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == rows_at(5, 10)
    assert json.loads((tmp_path / "validation.jsonl").read_text()) == VALIDATION
    printed = capsys.readouterr()
    assert [line.split("  ")[0] for line in printed.out.splitlines()] == [
        "stage1 step 5/1000000",
        "stage1 step 10/1000000",
        "stage1 validation after step 5: loss 2.5000 (itemic 2.0000) on 3 samples in 1.0 s",
    ]
    assert printed.err == ""


def test_progress_keeps_the_figures_that_a_silent_step_does_not_give(reporter, tmp_path):
    told = reporter()
    tell(told, 5)
    told.advance(10**6, loss=0.25)
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert (progress["done"], progress["loss"], progress["tokens_per_second"]) == (10**6, 0.25, 1234.5)


def test_a_resumed_stage_shows_no_step_twice(reporter, tmp_path):
    first = reporter()
    tell(first, 1, 2, 3)
    first.close()
    resumed = reporter(start=2)
    tell(resumed, 3, 4)
    resumed.close()
    assert losses(tmp_path / "log") == [(1, 0.125), (2, 0.25), (3, 0.375), (4, 0.5)]
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "broken",
    [
        '{"step": 2',
        '{"loss": 1.0}',
        "[5]",
        "3",
        '"step"',
        "null",
        '{"step": null}',
        '{"step": "2"}',
        "\ufffd",
        "",
    ],
)
def test_rows_past_the_checkpoint_and_what_is_no_row_are_dropped(tmp_path, broken):
    path = tmp_path / "metrics.jsonl"
    rows = [json.dumps({"step": step}) for step in (5, 10, 15)]
    path.write_text("\n".join([rows[0], broken, rows[1], rows[2], broken]))
    keep_rows_until(path, 10)
    assert path.read_text() == '{"step": 5}\n{"step": 10}\n'


def test_bytes_that_are_no_text_cost_their_line_only(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 5}\n\xff\xfe\x00\n{"step": 6}\n')
    keep_rows_until(path, 10)
    assert path.read_text() == '{"step": 5}\n{"step": 6}\n'


def test_a_full_disk_behind_the_rows_is_told_once_and_all_else_goes_on(reporter, tmp_path, capsys):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    told = reporter()
    tell(told, *range(1, 50))
    assert len(losses(tmp_path / "log")) == 49
    assert capsys.readouterr().err.splitlines() == [
        "warning: metrics.jsonl cannot be written, training goes on: [Errno 28] No space left on device"
    ]


@contextmanager
def room_for(path, more):
    """Let no file grow beyond the size of this one and a few bytes more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_row_that_fits_only_in_part_leaves_no_torn_line(reporter, tmp_path, capsys):
    told = reporter()
    tell(told, 1)
    path = tmp_path / "metrics.jsonl"
    with room_for(path, 20):
        tell(told, 2)
    tell(told, 3)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3]
    assert "metrics.jsonl cannot be written" in capsys.readouterr().err


def test_scalars_that_fit_only_in_part_do_not_end_what_is_shown(tmp_path):
    board = Board(tmp_path, start=0)
    board.draw({"training/loss": 0.5}, 1)
    [path] = tmp_path.iterdir()
    with room_for(path, 20), pytest.raises(OSError, match="only 20 of"):
        board.draw({"training/loss": 1.0}, 2)
    board.draw({"training/loss": 1.5}, 3)
    board.close()
    assert losses(tmp_path) == [(1, 0.5), (3, 1.5)]


def test_a_tensorboard_folder_that_cannot_be_is_told_once(reporter, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    told = reporter(tensorboard_dir=tmp_path / "file" / "log")
    tell(told, *range(1, 50))
    told.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 49
    [warning] = capsys.readouterr().err.splitlines()
    assert re.match(r"warning: TensorBoard cannot be written, training goes on: .*Not a directory", warning)


def break_board(told):
    """Let the open event file be a full disk from now on."""
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), told._board._file.fileno())


def test_an_event_file_that_fails_in_the_middle_neither_blocks_nor_raises_and_another_is_begun(
    reporter, tmp_path, capsys
):
    told = reporter()
    tell(told, 1, 2)
    break_board(told)
    tell(told, *range(3, 3000))
    told.close()
    assert losses(tmp_path / "log")[:4] == [(1, 0.125), (2, 0.25), (4, 0.5), (5, 0.625)]
    assert len(list((tmp_path / "log").iterdir())) == 2
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2999
    assert capsys.readouterr().err.splitlines() == [
        "warning: TensorBoard cannot be written, training goes on: [Errno 28] No space left on device"
    ]


def test_an_event_folder_that_is_lost_in_the_middle_neither_blocks_nor_raises(reporter, tmp_path, capsys):
    told = reporter()
    tell(told, 1, 2)
    break_board(told)
    (tmp_path / "log").rename(tmp_path / "elsewhere")
    (tmp_path / "log").write_text("")
    tell(told, *range(3, 3000))
    told.close()
    assert losses(tmp_path / "elsewhere") == [(1, 0.125), (2, 0.25)]
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_progress_file_that_cannot_be_replaced_is_told_once(reporter, tmp_path, capsys):
    (tmp_path / "progress.json").mkdir()
    told = reporter()
    told.advance(10**6)
    told.advance(10**6)
    [warning] = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: progress.json cannot be written, training goes on: ")


def test_samples_of_a_diverged_step_are_told_when_they_cannot_be_written(tmp_path, capsys):
    write_divergence(tmp_path, rank=1, step=6, uuids=["a", "b"])
    assert json.loads((tmp_path / "diverged-step7-rank1.json").read_text())["uuids"] == ["a", "b"]
    (tmp_path / "file").write_text("")
    write_divergence(tmp_path / "file", rank=1, step=6, uuids=["a", "b"])
    assert "samples: a, b" in capsys.readouterr().err


def test_a_stage_that_can_tell_nothing_trains_as_one_that_can(tiny_programme, tmp_path):
    """Rows, events and progress all fail; the numbers on the console are those of a sound disk."""
    console = {}
    for name in ("sound", "broken"):
        folder = tmp_path / name
        config = tiny.train_config(
            tiny_programme,
            folder,
            duration={"max_steps": 4},
            data={"datasets": [{**data_of(tiny_programme), "validation_fraction": 0.2}]},
        )
        if name == "broken":
            (folder / "progress.json").mkdir(parents=True)
            for rows in ("metrics.jsonl", "validation.jsonl"):
                (folder / rows).symlink_to("/dev/full")
            (folder / "log").write_text("")
        done = tiny.run(config)
        shown = re.findall(r"step (\d+)/4  loss (\S+)  lr (\S+)  grad norm (\S+)", done.stdout)
        result = json.loads((folder / "result.json").read_text())
        console[name] = (shown, result["loss"], result["validation"]["loss"])
        warnings = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == ["progress.json", "metrics.jsonl", "TensorBoard", "validation.jsonl"]
    assert len(console["sound"][0]) == 4
    assert console["broken"] == console["sound"]


def data_of(tiny_programme):
    return {"name": "tiny", "store_dir": str(tiny_programme / "store")}


def test_tags_are_those_that_openonerec_users_know():
    assert board_scalars(ROW, monitor=Monitoring()) == {
        "training/loss": 2.5,
        "training/itemic_token_loss": 2.0,
        "training/learning_rate": 1e-3,
        "training/grad_norm": 0.5,
        "perf/sec_per_step": 2.0,
        "perf/tokens_per_sec": 1234.5,
        "perf/tokens_per_sec_per_gpu_current": 617.25,
        "perf/valid_tokens_per_sec_per_gpu_current": 100.0,
        "perf/samples_per_sec_per_gpu_current": 1.5,
        "perf/valid_token_ratio": 0.5,
        "perf/total_num_tokens": 900,
        "perf/total_num_samples": 9,
        "perf/epoch_idx": 0,
        "data_source_loss/history": 2.5,
        "data_source_token_ratio/history": 1.0,
        "data_source_sample_ratio/history": 0.75,
    }
    assert board_scalars({**ROW, "mfu": 0.5, "text_loss": 1.0}, monitor=Monitoring()).items() >= {
        ("perf/mfu", 0.5),
        ("training/text_token_loss", 1.0),
    }


def test_tags_of_a_validation_stand_apart_from_those_of_the_training():
    assert validation_scalars(VALIDATION) == {
        "validation/loss": 2.5,
        "validation/itemic_loss": 2.0,
        "validation_source_loss/history": 2.5,
    }


def test_sources_are_left_out_when_they_are_not_monitored():
    quiet = Monitoring(monitor_datasource_loss=False, monitor_datasource_cnt=False)
    assert not any(tag.startswith("data_source") for tag in board_scalars(ROW, monitor=quiet))


def test_the_console_line_tells_step_loss_rate_and_speed():
    line = console_line("stage1", ROW, total_steps=50)
    assert line == "stage1 step 5/50  loss 2.5000  lr 0.001  grad norm 0.500  1,234 tokens/s"


def test_shares_add_up_to_one():
    assert shares({"a": [30, 1], "b": [10, 3]}) == {
        "source_tokens_ratio": {"a": 0.75, "b": 0.25},
        "source_samples_ratio": {"a": 0.25, "b": 0.75},
    }


def test_totals_are_of_all_sources():
    assert running_totals({"a": [30, 1], "b": [10, 3]}) == {"total_tokens": 40, "total_samples": 4}


def test_a_window_divides_what_was_done_by_the_time_that_counts(monkeypatch):
    now = iter([100.0, 120.0, 130.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    window = Window()
    for _ in range(2):
        window.add(tokens=300, trained_tokens=60, samples=3, flop=5e12, waited_seconds=0.5)
    window.leave_out(10.0)
    assert window.close(peak_flop_per_second=2e12) == {
        "seconds_per_step": 5.0,
        "tokens_per_second": 60.0,
        "trained_tokens_per_second": 12.0,
        "samples_per_second": 0.6,
        "data_wait": 0.1,
        "mfu": 0.5,
    }
    assert "mfu" not in window.close(peak_flop_per_second=None)
