"""Resume our loader at a position of one million samples, or note the states to resume from.

Seconds begin after the imports and after the fork server of the workers has started, which a trainer does
while it loads the model; with `cold`, the server starts within them.
"""

import json
import sys
import time
from pathlib import Path


def main():
    given = json.loads(sys.argv[1])
    print(json.dumps(note(given) if "positions" in given else resume(given)))


def loader_of(given, num_workers):
    from onerec.data.loading.load import PackLoader
    from tests.benchmarks.orders import data_order

    data = data_order(given["store"], num_workers=num_workers)
    return PackLoader(data, rank=0, world_size=1, packs_per_step=1, pad_to=None)


def note(given):
    """States after these fractions of the epoch with the ids of the next pack, and the last state."""
    packs = loader_of(given, num_workers=0).total_packs
    states = {}
    for fraction in given["positions"]:
        loader, steps = standing_before(given, round(fraction * packs) - 1)
        next(steps)
        state = loader.state_dict()
        states[str(fraction)] = {"state": state, "ids": int(next(steps).packs[0].input_ids_T.sum())}
    Path(given["states"]).write_text(json.dumps(states))
    loader, steps = standing_before(given, packs - 1)
    assert len(list(steps)) == 1
    began = time.perf_counter()
    for _ in range(1000):
        size = len(json.dumps(loader.state_dict()))
    return {"packs": packs, "bytes_at_end": size, "state_seconds": (time.perf_counter() - began) / 1000}


def standing_before(given, number):
    """A loader, and its steps from this pack on."""
    loader = loader_of(given, num_workers=0)
    loader.load_state_dict({**loader.state_dict(), "next_pack": number})
    return loader, iter(loader)


def resume(given):
    """Time to the first pack after a state."""
    import onerec.data.loading.load  # noqa: F401 imports are not timed
    from tests.benchmarks.orders import start_workers

    noted = json.loads(Path(given["states"]).read_text())[given["position"]]
    if not given.get("cold"):
        start_workers()
    began = time.perf_counter()
    loader = loader_of(given, num_workers=2)
    loader.load_state_dict(noted["state"])
    step = next(iter(loader))
    seconds = time.perf_counter() - began
    ids = int(step.packs[0].input_ids_T.sum())
    return {"seconds": seconds, "ids": ids, "wanted": noted["ids"], "bytes": len(json.dumps(noted["state"]))}


if __name__ == "__main__":
    main()
