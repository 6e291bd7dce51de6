"""Times and GPUs as Slurm writes them."""

from __future__ import annotations

import math

import pytest

from runner.manifest.tables import Cluster
from runner.slurm.limits import gpu_count, seconds_of, tasks_per_node, warning_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("30:10", 1810),
        ("1:30:10", 5410),
        ("2-12", 216000),
        ("2-12:30", 217800),
        ("2-12:30:10", 217810),
        ("infinite", math.inf),
        ("UNLIMITED", math.inf),
        ("", None),
        ("two days", None),
        ("1:2:3:4", None),
        ("-30", None),
        ("30\n", None),
    ],
)
def test_every_form_of_a_time_of_slurm_is_understood(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (8, 8),
        ("8", 8),
        ("a100:4", 4),
        ("nvidia_h100-80gb:2", 2),
        ("0", None),
        ("a100", None),
        ("a:b:2", None),
    ],
)
def test_gpus_are_a_number_or_a_type_and_a_number(given: int | str, count: int | None) -> None:
    assert gpu_count(given) == count


@pytest.mark.parametrize(
    ("written", "tasks"),
    [({}, 1), ({"slurm": {"gpus_per_node": "a100:4"}}, 4), ({"nproc_per_node": 2}, 2)],
)
def test_there_is_a_task_for_each_gpu_unless_written_otherwise(
    written: dict[str, object], tasks: int
) -> None:
    assert tasks_per_node(Cluster.model_validate({"launcher": "slurm", **written})) == tasks


def test_a_job_is_told_of_its_end_while_there_is_time_to_save_and_to_queue_it_again() -> None:
    assert warning_seconds(600) == 630
    assert warning_seconds(0.5) == 31
