"""TRL's best-fit-decreasing on given lengths: one call over all of them, and `pack_dataset` as documented.

Tokens are one byte each in the first, so that next to nothing but the packing is timed.
"""

import json
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
from datasets import Dataset
from datasets.arrow_writer import ArrowWriter
from trl import pack_dataset
from trl.data_utils import _pack_bfd


def table_of(lengths, kind):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = pa.array(np.zeros(offsets[-1], dtype=kind))
    return pa.table({"input_ids": pa.LargeListArray.from_arrays(pa.array(offsets), values)})


def main():
    given = json.loads(sys.argv[1])
    lengths = np.load(given["lengths"])
    print(json.dumps(documented(lengths, given) if given["documented"] else packing(lengths, given)))


def packing(lengths, given):
    """All lengths at once, the packing function alone."""
    table = table_of(lengths, np.int8)
    began = time.perf_counter()
    packed = _pack_bfd(table, given["capacity"])
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "packs": len(packed),
        "samples": sum(map(len, packed["seq_lengths"].to_pylist())),
    }


def documented(lengths, given):
    """`pack_dataset` of a dataset on disk with its defaults, which packs each 1,000 samples by themselves."""
    with tempfile.TemporaryDirectory() as scratch:
        path = f"{scratch}/samples.arrow"
        table = table_of(lengths, np.int32)
        with ArrowWriter(path=path) as writer:
            for batch in table.to_batches(max_chunksize=1000):
                writer.write_table(pa.Table.from_batches([batch]))
            writer.finalize()
        dataset = Dataset.from_file(path)
        began = time.perf_counter()
        packed = pack_dataset(dataset, given["capacity"], "bfd")
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "packs": len(packed), "samples": len(lengths)}


if __name__ == "__main__":
    main()
