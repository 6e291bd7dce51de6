"""Our residual k-means with an id for every item; seconds are of the codebooks and the ids."""

import json
import sys
import time

import numpy as np
import torch

from onerec.build.ids.codebook import nearest
from onerec.build.ids.residual import mean_square, residual_kmeans, take_off


def main():
    given = json.loads(sys.argv[1])
    torch.set_num_threads(2)
    vectors = np.load(given["vectors"])
    began = time.perf_counter()
    found = residual_kmeans(
        vectors,
        levels=given["levels"],
        codes=given["codes"],
        balanced=False,
        batch_size=given["batch_size"],
        rng=np.random.default_rng(given["seed"]),
    )
    seconds = time.perf_counter() - began
    distinct = len(np.unique(found.codes_NL, axis=0))
    left = vectors.copy()
    for book in found.books:
        take_off(left, book, nearest(left, book))
    error = 100 * mean_square(left) / mean_square(vectors)
    print(json.dumps({"seconds": seconds, "distinct": distinct, "error_percent": error}))


if __name__ == "__main__":
    main()
