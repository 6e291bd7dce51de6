"""The packages that trackers stand for: wandb, mlflow, trackio, each imported when its run begins.

They find servers and keys as they always do (WANDB_*, MLFLOW_*, TRACKIO_*, their own files); none of that
is read or written here. Console, code, machine and environment are not sent.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from onerec.train.trackers import EndState, Tracker

PROJECT = "onerec"
"""Project or experiment, unless WANDB_PROJECT, MLFLOW_EXPERIMENT_NAME or TRACKIO_PROJECT names one."""
MLFLOW_STATES = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
MLFLOW_PARAMS, MLFLOW_LENGTH = 100, 500
"""Most parameters of one call, and most characters of one value (older servers)."""


class Wandb:
    """Weights & Biases. Steps are a figure of their own: a resumed stage may tell some of them again."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder, self._env = folder, env
        self._run: Any = None

    def start(self, run: str, *, config: Mapping[str, Any], resume_id: str | None) -> str:
        """Begin or go on with a run."""
        import wandb  # noqa: PLC0415

        self._folder.mkdir(parents=True, exist_ok=True)
        found = resume_id or uuid.uuid4().hex[:16]
        self._run = wandb.init(
            project=self._env.get("WANDB_PROJECT", PROJECT),
            name=run,
            id=found,
            resume="allow",
            dir=str(self._folder),
            config=dict(config),
            save_code=False,
            settings=wandb.Settings(
                console="off", disable_git=True, x_disable_meta=True, x_disable_machine_info=True
            ),
        )
        self._run.define_metric("*", step_metric="step")
        return found

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Send figures."""
        self._run.log({"step": step, **scalars})

    def finish(self, state: EndState) -> None:
        """Close the run; it is marked as failed unless it is done or was stopped."""
        self._run.finish(exit_code=1 if state == "failed" else 0)


class Mlflow:
    """MLflow, by its client: nothing global, and no run is open by chance."""

    def __init__(self, _folder: Path, env: Mapping[str, str]) -> None:
        self._env = env
        self._client: Any = None
        self._run_id = ""

    def start(self, run: str, *, config: Mapping[str, Any], resume_id: str | None) -> str:
        """Begin a run with the settings as parameters, or go on with one."""
        from mlflow import MlflowClient  # noqa: PLC0415

        self._client = MlflowClient()
        if resume_id is not None:
            self._client.update_run(resume_id, status="RUNNING")
            self._run_id = resume_id
            return resume_id
        name = self._env.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self._run_id = self._client.create_run(number, run_name=run).info.run_id
        self._send_params(flat(config))
        return self._run_id

    def _send_params(self, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param  # noqa: PLC0415

        sent = [Param(key, value[:MLFLOW_LENGTH]) for key, value in params.items()]
        for first in range(0, len(sent), MLFLOW_PARAMS):
            self._client.log_batch(self._run_id, params=sent[first : first + MLFLOW_PARAMS])

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Send figures."""
        from mlflow.entities import Metric  # noqa: PLC0415

        now = int(time.time() * 1000)
        metrics = [Metric(mlflow_key(tag), value, now, step) for tag, value in scalars.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def finish(self, state: EndState) -> None:
        """Close the run."""
        self._client.set_terminated(self._run_id, status=MLFLOW_STATES[state])


class Trackio:
    """Trackio, which knows runs by their names: a new run has a name that no other has."""

    def __init__(self, _folder: Path, env: Mapping[str, str]) -> None:
        self._env = env
        self._run: Any = None

    def start(self, run: str, *, config: Mapping[str, Any], resume_id: str | None) -> str:
        """Begin or go on with a run."""
        import trackio  # noqa: PLC0415

        found = resume_id or f"{run}-{uuid.uuid4().hex[:8]}"
        self._run = trackio.init(
            project=self._env.get("TRACKIO_PROJECT", PROJECT),
            name=found,
            resume="allow",
            config=dict(config),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return found

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Send figures."""
        self._run.log(dict(scalars), step=step)

    def finish(self, state: EndState) -> None:
        """Close the run; trackio knows no failed ones, so how it ended is a figure."""
        self._run.log({"failed": float(state == "failed")})
        self._run.finish()


MAKERS: dict[str, Callable[[Path, Mapping[str, str]], Tracker]] = {
    "wandb": Wandb,
    "mlflow": Mlflow,
    "trackio": Trackio,
}
"""What makes each tracker, given the folder for what its package writes, and the environment."""


def flat(config: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Nested settings as dotted keys and texts."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{above}{key}.")
        elif value is not None:
            found[f"{above}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def mlflow_key(tag: str) -> str:
    """A tag with the characters that MLflow takes; names of sources are other people's."""
    return re.sub(r"[^\w./ -]", "_", tag)[:250]
