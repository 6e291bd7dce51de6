"""A tokenised Hugging Face dataset whose parquet and map are cached after the first time.

The map is batched, which makes the first time short and changes nothing later.
"""

import json

from datasets import load_dataset
from transformers import AutoTokenizer


def tokenise(rows, tokenizer):
    """Token ids of many texts at once."""
    texts = ["".join(part["text"] for part in json.loads(segments)) for segments in rows["segments"]]
    return {"input_ids": tokenizer(texts, return_attention_mask=False)["input_ids"]}


def tokenised(given):
    """The dataset and the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(given["tokenizer"])
    rows = load_dataset("parquet", data_files=given["files"], split="train", cache_dir=given["cache"])
    dataset = rows.map(
        tokenise,
        fn_kwargs={"tokenizer": tokenizer},
        batched=True,
        num_proc=2,
        remove_columns=rows.column_names,
    )
    return dataset, tokenizer
