"""The straightforward dataset: read rows, tokenise each, pack greedily; each worker takes every n-th file."""

import json

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import IterableDataset, get_worker_info
from transformers import AutoTokenizer


def ids_of(row, tokenizer):
    """Token ids of one row."""
    if row["messages"]:
        turns = json.loads(row["messages"])
        return tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    return tokenizer("".join(part["text"] for part in json.loads(row["segments"])))["input_ids"]


class PerSample(IterableDataset):
    """Packs of at most `max_length` tokens."""

    def __init__(self, files, tokenizer_dir, max_length):
        self.files, self.max_length = files, max_length
        self.tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)

    def __iter__(self):
        worker = get_worker_info()
        files = self.files[worker.id :: worker.num_workers] if worker else self.files
        pack, size = [], 0
        for path in files:
            for row in pq.read_table(path, columns=["messages", "segments"]).to_pylist():
                ids = ids_of(row, self.tokenizer)[: self.max_length]
                if size + len(ids) > self.max_length:
                    yield self.batch(pack)
                    pack, size = [], 0
                pack.append(ids)
                size += len(ids)
        if pack:
            yield self.batch(pack)

    @staticmethod
    def batch(pack):
        """One packed batch."""
        ids = torch.from_numpy(np.concatenate(pack).astype(np.int64))
        positions = torch.cat([torch.arange(len(one)) for one in pack])
        return {"input_ids": ids, "labels": ids.clone(), "position_ids": positions, "samples": len(pack)}
