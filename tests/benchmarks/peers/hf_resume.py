"""Resume a Hugging Face IterableDataset by its own state_dict, as documented, at one of its best settings.

Streamed parquet, tokenised by a batched map; the first batch is the samples that fill one pack.
"""

import json
import sys
import time
from pathlib import Path

from datasets import load_dataset
from transformers import AutoTokenizer


def main():
    given = json.loads(sys.argv[1])
    print(json.dumps(note(given) if "positions" in given else resume(given)))


def dataset_of(given):
    tokenizer = AutoTokenizer.from_pretrained(given["tokenizer"])
    rows = load_dataset("parquet", data_files=given["files"], split="train", streaming=True)
    return rows.map(
        tokenise,
        fn_kwargs={"tokenizer": tokenizer},
        batched=True,
        remove_columns=["uuid", "source", "metadata", "messages", "segments"],
    )


def tokenise(rows, tokenizer):
    """Token ids of many texts at once."""
    texts = ["".join(part["text"] for part in json.loads(segments)) for segments in rows["segments"]]
    return {"input_ids": tokenizer(texts, return_attention_mask=False)["input_ids"]}


def ids_of_pack(samples, max_length):
    """Sum of the ids of the samples that fit into one pack."""
    total = size = 0
    for sample in samples:
        size += len(sample["input_ids"])
        if size > max_length:
            return total
        total += sum(sample["input_ids"])
    return total


def note(given):
    """States after these numbers of samples, each with the ids of the pack that comes next."""
    dataset = dataset_of(given)
    states = {}
    for fraction, number in sorted(given["positions"].items(), key=lambda pair: pair[1]):
        samples = iter(dataset)
        done = states[max(states)]["samples"] if states else 0
        for _ in range(number - done):
            next(samples)
        states[fraction] = {"state": dataset.state_dict(), "samples": number}
        states[fraction]["ids"] = ids_of_pack(samples, given["max_length"])
        dataset.load_state_dict(states[fraction]["state"])
    Path(given["states"]).write_text(json.dumps(states))
    began = time.perf_counter()
    for _ in range(100):
        size = len(json.dumps(dataset.state_dict()))
    return {"bytes": size, "state_seconds": (time.perf_counter() - began) / 100}


def resume(given):
    """Time to the first pack after a state."""
    noted = json.loads(Path(given["states"]).read_text())[given["position"]]
    began = time.perf_counter()
    dataset = dataset_of(given)
    dataset.load_state_dict(noted["state"])
    ids = ids_of_pack(iter(dataset), given["max_length"])
    return {"seconds": time.perf_counter() - began, "ids": ids, "wanted": noted["ids"]}


if __name__ == "__main__":
    main()
