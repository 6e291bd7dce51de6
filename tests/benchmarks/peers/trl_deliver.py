"""Deliver every packed batch of a corpus in TRL's way, nothing cached."""

import json
import sys
import tempfile
import time

from trl_data import batches, tokenised


def main():
    given = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory(dir=given["scratch"]) as cache:
        began = time.perf_counter()
        made = list(batches(given, *tokenised({**given, "cache": cache})))
        seconds = time.perf_counter() - began
    told = {
        "seconds": seconds,
        "samples": sum(int((batch["position_ids"] == 0).sum()) for batch in made),
        "tokens": sum(batch["input_ids"].numel() for batch in made),
        "ids": sum(int(batch["input_ids"].sum()) for batch in made),
    }
    print(json.dumps({**told, "packs": len(made)}))


if __name__ == "__main__":
    main()
