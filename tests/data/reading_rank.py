"""A trainer without a model, for torchrun: reads some steps and writes down what this rank saw in each.

    torchrun ... -m tests.data.reading_rank REQUEST FOLDER

REQUEST is JSON: the data, the workers, the steps to read (null: all), the state to go on from (null: none).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from onerec.config import DataOrder
from onerec.distributed import read_world
from tests.data.matrix import Cell, read_rank


def main(request_path: str, folder: str) -> None:
    request = json.loads(Path(request_path).read_text())
    world = read_world(os.environ)
    cell = Cell(world.size, request["num_workers"])
    data = DataOrder.model_validate_json(json.dumps(request["data"]))
    shares, state = read_rank(data, cell, world.rank, request["state"], request["steps"])
    (Path(folder) / f"rank{world.rank}.json").write_text(json.dumps({"steps": shares, "state": state}))


if __name__ == "__main__":
    main(*sys.argv[1:])
