"""A stand-in for wandb that notes what it is told in the file FAKE_TOLD, or fails as FAKE_FAULT says."""

import json
import os
import random
import time
from pathlib import Path


def note(**call):
    with Path(os.environ["FAKE_TOLD"]).open("a") as file:
        file.write(json.dumps(call) + "\n")


def Settings(**settings):
    return settings


class Run:
    def define_metric(self, name, step_metric):
        note(call="define_metric", name=name, step_metric=step_metric)

    def log(self, row):
        random.seed(0)  # whatever a package does to such state must not reach the numbers
        if os.environ.get("FAKE_FAULT") == "raise":
            raise RuntimeError("no such server")
        if os.environ.get("FAKE_FAULT") == "hang":
            time.sleep(3600)
        note(call="log", row=row)

    def finish(self, exit_code):
        note(call="finish", exit_code=exit_code)


def init(**settings):
    note(call="init", **{key: value for key, value in settings.items() if key in ("name", "id", "project")})
    return Run()
