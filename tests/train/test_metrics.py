"""Rows of figures: what is kept on resume, and the tags that TensorBoard gets."""

import json

from onerec.config import Monitoring
from onerec.train.metrics import board_scalars, console_line, keep_rows_until, shares

ROW = {
    "step": 5,
    "loss": 2.5,
    "itemic_loss": 2.0,
    "text_loss": None,
    "learning_rate": 1e-3,
    "grad_norm": 0.5,
    "tokens_per_second": 1234.5,
    "source_loss": {"history": 2.5},
    "source_tokens_ratio": {"history": 1.0},
    "source_samples_ratio": {"history": 1.0},
}


def test_rows_past_the_checkpoint_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (5, 10, 15)) + '{"step": 2')
    keep_rows_until(path, 10)
    assert path.read_text() == '{"step": 5}\n{"step": 10}\n'


def test_tags_are_those_that_openonerec_users_know():
    assert board_scalars(ROW, monitor=Monitoring()) == {
        "training/loss": 2.5,
        "training/itemic_loss": 2.0,
        "training/learning_rate": 1e-3,
        "training/grad_norm": 0.5,
        "perf/tokens_per_second": 1234.5,
        "data_source_loss/history": 2.5,
        "data_source_tokens_ratio/history": 1.0,
        "data_source_samples_ratio/history": 1.0,
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
