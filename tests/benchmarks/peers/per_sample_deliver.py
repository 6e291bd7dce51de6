"""Deliver every packed batch of a corpus with the straightforward dataset and two workers."""

import json
import sys
import time

from per_sample import PerSample
from torch.utils.data import DataLoader


def main():
    given = json.loads(sys.argv[1])
    began = time.perf_counter()
    dataset = PerSample(given["files"], given["tokenizer"], given["max_length"])
    batches = list(DataLoader(dataset, batch_size=None, num_workers=2))
    seconds = time.perf_counter() - began
    told = {
        "seconds": seconds,
        "samples": sum(batch["samples"] for batch in batches),
        "tokens": sum(len(batch["input_ids"]) for batch in batches),
        "ids": sum(int(batch["input_ids"].sum()) for batch in batches),
    }
    print(json.dumps({**told, "packs": len(batches)}))


if __name__ == "__main__":
    main()
