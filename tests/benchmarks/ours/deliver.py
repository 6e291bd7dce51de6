"""Deliver every packed batch of a corpus with two workers: from parquet, or from a store that is there.

Seconds begin after the imports; with a store that is there, also after the fork server of the workers has
started, which a trainer does while it loads the model. Workers import this file again, so it imports little
itself.
"""

import json
import sys
import tempfile
import time
from pathlib import Path


def main():
    from onerec.data.loading.load import PackLoader
    from tests.benchmarks.materials import prepare_store
    from tests.benchmarks.orders import data_order, start_workers

    given = json.loads(sys.argv[1])
    if "store" in given:
        start_workers()
    with tempfile.TemporaryDirectory(dir=given["scratch"]) as scratch:
        began = time.perf_counter()
        store = given.get("store")
        if store is None:
            store = Path(scratch) / "store"
            prepare_store(store, Path(given["corpus"]), Path(given["tokenizer"]))
        loader = PackLoader(
            data_order(store, num_workers=2), rank=0, world_size=1, packs_per_step=1, pad_to=None
        )
        packs = [step.packs[0] for step in loader]
        seconds = time.perf_counter() - began
    ids = sum(int(pack.input_ids_T.sum()) for pack in packs)
    samples = sum(pack.samples for pack in packs)
    tokens = sum(pack.tokens for pack in packs)
    document_ends = samples * given["document_end_id"]
    told = {"seconds": seconds, "samples": samples, "tokens": tokens - samples, "ids": ids - document_ends}
    print(json.dumps({**told, "packs": len(packs)}))


if __name__ == "__main__":
    main()
