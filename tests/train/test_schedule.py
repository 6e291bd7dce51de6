"""The learning rate: warm-up from above zero, decay to the floor, then the floor for ever."""

import pytest

from onerec.config import Optim
from onerec.train.schedule import learning_rate


def rates(steps, total_steps=100, **keys):
    optim = Optim(learning_rate=1.0, **keys)
    return [pytest.approx(learning_rate(step, optim, total_steps=total_steps), abs=1e-9) for step in steps]


@pytest.mark.parametrize(
    ("keys", "steps", "expected"),
    [
        ({"num_warmup_steps": 4}, [0, 1, 3, 4], [0.25, 0.5, 1.0, 1.0]),
        ({"min_lr": 0.1, "num_training_steps": 10}, [0, 5, 10, 11, 500], [1.0, 0.55, 0.1, 0.1, 0.1]),
        ({"lr_scheduler_type": "linear", "num_training_steps": 10}, [0, 5, 9, 10], [1.0, 0.5, 0.1, 0.0]),
        ({"lr_scheduler_type": "constant", "num_warmup_steps": 2}, [0, 1, 2, 99], [0.5, 1.0, 1.0, 1.0]),
        ({"min_lr": 0.2}, [0, 50, 100], [1.0, 0.6, 0.2]),
        ({"num_warmup_steps": 5, "num_training_steps": 5}, [4, 5, 6], [1.0, 1.0, 0.0]),
    ],
)
def test_rates(keys, steps, expected):
    assert rates(steps, **keys) == expected
