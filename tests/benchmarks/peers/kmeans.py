"""scikit-learn's k-means, level by level on what the levels before have left; two threads."""

import json
import os
import sys
import time

# before they are loaded; passive: threads that wait by spinning never end on cores that others use too
os.environ.update({"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"})

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans


def main():
    given = json.loads(sys.argv[1])
    vectors = np.load(given["vectors"])
    power = np.square(vectors, dtype=np.float64).sum()
    left = vectors.copy()
    began = time.perf_counter()
    for _ in range(given["levels"]):
        model = clustering(given).fit(left)
        left -= model.cluster_centers_[model.labels_]
    seconds = time.perf_counter() - began
    error = 100 * float(np.square(left, dtype=np.float64).sum() / power)
    print(json.dumps({"seconds": seconds, "error_percent": error}))


def clustering(given):
    shared = {"n_clusters": given["codes"], "n_init": 1, "random_state": given["seed"]}
    if given["kind"] == "KMeans":
        return KMeans(**shared)
    return MiniBatchKMeans(**shared, batch_size=given["batch_size"])


if __name__ == "__main__":
    main()
