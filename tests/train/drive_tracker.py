"""`drive_tracker.py NAME FOLDER STATE`: two rows through a real package, as a stage tells them; no torch."""

import os
import sys
from pathlib import Path

from onerec.train.trackers import TrackedRun, Trackers

name, folder, state = sys.argv[1:]
config = {"stage": "sft", "optim": {"learning_rate": 1e-3}, "numbers": list(range(200))}
run = TrackedRun("demo/sft", config, Path(folder), dict(os.environ))
trackers = Trackers([name], run=run)
for step in (5, 10):
    trackers.tell({"training/loss": 1.0 / step, "data_source_loss/a:b": float("nan")}, step)
trackers.close(state)
sys.stdout.flush()
os._exit(0)  # as the trainer ends
