"""A fresh process that reads the first batch of a Hugging Face dataset, load_dataset and map cached.

The batch is 512 samples, about as many tokens as a pack holds, put one after the other.
"""

import itertools
import json
import sys
import time

import torch
from cached import tokenised
from torch.utils.data import DataLoader

SAMPLES = 512


def collate(samples):
    """Samples one after the other."""
    return torch.tensor(list(itertools.chain.from_iterable(sample["input_ids"] for sample in samples)))


def main():
    dataset, _ = tokenised(json.loads(sys.argv[1]))
    loader = DataLoader(dataset, batch_size=SAMPLES, shuffle=True, num_workers=2, collate_fn=collate)
    batch = next(iter(loader))
    print(json.dumps({"clock": time.time(), "tokens": len(batch)}))


if __name__ == "__main__":
    main()
