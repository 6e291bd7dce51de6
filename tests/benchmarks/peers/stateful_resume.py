"""Resume a StatefulDataLoader over the straightforward dataset, which has no state: it reads again.

Two workers. States are those that the loader gave when it stood there.
"""

import json
import pickle
import sys
import time
from pathlib import Path

from per_sample import PerSample
from torchdata.stateful_dataloader import StatefulDataLoader


def main():
    given = json.loads(sys.argv[1])
    print(json.dumps(note(given) if "positions" in given else resume(given)))


def loader_of(given):
    dataset = PerSample(given["files"], given["tokenizer"], given["max_length"])
    return StatefulDataLoader(dataset, batch_size=None, num_workers=2)


def note(given):
    """States after these numbers of packs, each with the ids of the pack that comes next."""
    loader = loader_of(given)
    wanted = {number: fraction for fraction, number in given["positions"].items()}
    states, state = {}, None
    for number, batch in enumerate(loader):
        if number in wanted:
            states[wanted[number]] = {"state": state, "ids": int(batch["input_ids"].sum())}
        if number + 1 in wanted:
            state = loader.state_dict()
        if len(states) == len(wanted):
            break
    Path(given["states"]).write_bytes(pickle.dumps(states))
    began = time.perf_counter()
    for _ in range(100):
        size = len(pickle.dumps(loader.state_dict()))
    return {"bytes": size, "state_seconds": (time.perf_counter() - began) / 100}


def resume(given):
    """Time to the first pack after a state."""
    noted = pickle.loads(Path(given["states"]).read_bytes())[given["position"]]
    began = time.perf_counter()
    loader = loader_of(given)
    loader.load_state_dict(noted["state"])
    batch = next(iter(loader))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "ids": int(batch["input_ids"].sum()), "wanted": noted["ids"]}


if __name__ == "__main__":
    main()
