"""Our best fit on given lengths; seconds are of the packing alone."""

import json
import sys
import time

import numpy as np

from onerec.data.order.pack import best_fit


def main():
    given = json.loads(sys.argv[1])
    lengths = np.load(given["lengths"])
    began = time.perf_counter()
    numbers, packs = best_fit(lengths, given["capacity"])
    seconds = time.perf_counter() - began
    filled = np.bincount(numbers, weights=lengths, minlength=packs)
    told = {"packs": packs, "samples": len(numbers), "fullest": int(filled.max()), "opened": len(filled)}
    print(json.dumps({"seconds": seconds, "tokens": int(filled.sum()), **told}))


if __name__ == "__main__":
    main()
