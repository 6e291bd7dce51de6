"""A fresh process that reads the first batch of a prepared store and tells the clock."""

import json
import sys
import time


def main():
    from onerec.data.loading.load import PackLoader
    from tests.benchmarks.orders import data_order

    given = json.loads(sys.argv[1])
    data = data_order(given["store"], num_workers=2)
    loader = PackLoader(data, rank=0, world_size=1, packs_per_step=1, pad_to=None)
    pack = next(iter(loader)).packs[0]
    print(json.dumps({"clock": time.time(), "tokens": pack.tokens}))


if __name__ == "__main__":
    main()
