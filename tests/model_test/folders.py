"""Copies of a sound tiny folder with one thing broken in them, and what the checks find there."""

import contextlib
import json
import shutil

from safetensors.torch import load_file, save_file

from onerec.config import GenerationCase, ModelTest, TestModelConfig
from onerec.model_test.check import make
from onerec.model_test.generation import trials_of
from onerec.model_test.program import TRIALS
from onerec.model_test.subject import Subject

ALWAYS = {"trained": "note"}
"""What the checks tell of a sound folder that was never trained."""


def config(folder, output_dir="unused", **changes):
    """What the program is told."""
    test = ModelTest(max_new_tokens=3, **changes.pop("test", {}))
    return TestModelConfig(
        output_dir=str(output_dir), model_dir=str(folder), test=test, device="cpu", **changes
    )


def subject(folder):
    """The folder, opened."""
    return Subject(config(folder))


def found(folder, *cases):
    """Checks by name, of the folder and of the cases, given as keywords."""
    under_test, checks = subject(folder), {}
    for trial in (*TRIALS, *trials_of([GenerationCase(**case) for case in cases])):
        checks[trial.name] = make(trial, under_test, earlier=checks)
    return checks


def unusual(checks):
    """Status of the checks that failed or have a note, by name; skipped ones are those that need them."""
    return {check.name: check.status for check in checks.values() if check.status in ("failed", "note")}


def copy(folder, target):
    """A copy that may be changed."""
    shutil.copytree(folder, target)
    return target


@contextlib.contextmanager
def tensors(folder, file="model.safetensors"):
    """The tensors of a file, to be changed."""
    held = load_file(folder / file)
    yield held
    save_file(held, folder / file, metadata={"format": "pt"})


@contextlib.contextmanager
def document(path):
    """The object of a JSON file, to be changed."""
    held = json.loads(path.read_text())
    yield held
    path.write_text(json.dumps(held))


def split(folder):
    """The one weight file made two, with an index."""
    held = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(held)
    places = {name: f"model-0000{1 + (name > names[9])}-of-00002.safetensors" for name in names}
    for file in set(places.values()):
        part = {name: held[name] for name, place in places.items() if place == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
