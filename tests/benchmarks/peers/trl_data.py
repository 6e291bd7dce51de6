"""TRL's documented way from parquet to packed batches: load_dataset, map, pack_dataset, its collator.

What SFTTrainer does with a dataset, without the trainer; the loss mask that it would add to chat is left out.
"""

import json

from datasets import load_dataset
from torch.utils.data import DataLoader
from transformers import AutoTokenizer
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


def tokenise(row, tokenizer):
    """Token ids of one row, as SFTTrainer maps them: one row at a time."""
    if row["messages"]:
        turns = json.loads(row["messages"])
        return {"input_ids": tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)}
    return tokenizer(
        "".join(part["text"] for part in json.loads(row["segments"])), return_attention_mask=False
    )


def tokenised(given):
    """The dataset of token ids, and the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(given["tokenizer"])
    rows = load_dataset(
        "parquet", data_files=given["files"], split="train", cache_dir=given["cache"], num_proc=2
    )
    dataset = rows.map(
        tokenise, fn_kwargs={"tokenizer": tokenizer}, num_proc=2, remove_columns=rows.column_names
    )
    return dataset, tokenizer


def batches(given, dataset, tokenizer):
    """A DataLoader of packed batches with two workers."""
    packed = pack_dataset(dataset, given["max_length"], "bfd")
    collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id, padding_free=True)
    return DataLoader(packed, batch_size=1, shuffle=True, num_workers=2, collate_fn=collator)
