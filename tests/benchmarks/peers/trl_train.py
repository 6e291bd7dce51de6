"""Train on tokenised samples with TRL's SFTTrainer, and tell time, trained tokens and loss of every step."""

import json
import sys
import time

import torch
from datasets import load_dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Counted(SFTTrainer):
    """The trainer, with a note of the trained tokens of each step."""

    trained_tokens = ()

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.trained_tokens = (*self.trained_tokens, int((inputs["labels"] != -100).sum()))
        return super().compute_loss(model, inputs, *args, **kwargs)


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self):
        self.times = []

    def on_step_end(self, args, state, control, **_):
        self.times.append(time.time())


def settings(given):
    recipe = given["recipe"]
    return SFTConfig(
        output_dir=given["scratch"],
        packing=True,
        packing_strategy="bfd",
        max_length=given["max_length"],
        shuffle_dataset=True,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        optim="adamw_torch_fused",
        learning_rate=recipe["learning_rate"],
        weight_decay=recipe["weight_decay"],
        adam_beta1=recipe["beta1"],
        adam_beta2=recipe["beta2"],
        max_grad_norm=recipe["max_grad_norm"],
        lr_scheduler_type="cosine",
        num_train_epochs=1,
        dataloader_num_workers=1,
        logging_steps=1,
        save_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        seed=given["seed"],
        model_init_kwargs={"attn_implementation": "sdpa", "dtype": "float32"},
    )


def main():
    given = json.loads(sys.argv[1])
    torch.set_num_threads(given["threads"])
    dataset = load_dataset(
        "parquet", data_files=given["samples"], split="train", cache_dir=f"{given['scratch']}/cache"
    )
    clock = Clock()
    trainer = Counted(
        model=given["model"],
        args=settings(given),
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(given["model"]),
        callbacks=[clock],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    rows = [
        {"time": at, "trained_tokens": tokens, "loss": loss}
        for at, tokens, loss in zip(clock.times, trainer.trained_tokens, losses, strict=True)
    ]
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
