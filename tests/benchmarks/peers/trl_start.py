"""A fresh process that reads TRL's first packed batch, all of load_dataset, map and pack_dataset cached."""

import json
import sys
import time

from cached import tokenised
from trl_data import batches


def main():
    given = json.loads(sys.argv[1])
    batch = next(iter(batches(given, *tokenised(given))))
    print(json.dumps({"clock": time.time(), "tokens": batch["input_ids"].numel()}))


if __name__ == "__main__":
    main()
