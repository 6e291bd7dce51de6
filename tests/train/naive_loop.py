"""Training as somebody writes it who knows torch and transformers and nothing of this project.

Rows are read from parquet, rendered by the model's chat template and trained on one by one: no packs, full
logits, plain AdamW, no FSDP. Nothing of onerec is imported. T tokens of a sample, V vocabulary rows.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, Qwen3ForCausalLM

IGNORED = -100
DECAYING = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Qwen3 decoder; norms, embedding and head do not decay."""


@dataclass(frozen=True)
class Sample:
    """One row as ids and labels; the label of a position is the token that it predicts."""

    input_ids_T: torch.Tensor
    labels_T: torch.Tensor


@dataclass(frozen=True)
class Recipe:
    """Everything that AdamW and its learning rate are told."""

    learning_rate: float
    min_lr: float
    num_warmup_steps: int
    num_training_steps: int
    weight_decay: float
    beta1: float
    beta2: float
    max_grad_norm: float

    def rate(self, step: int) -> float:
        """Rate of a step, counted from 1: a straight line up, half a cosine down, then the floor."""
        if step <= self.num_warmup_steps:
            return self.learning_rate * step / self.num_warmup_steps
        way = (step - 1 - self.num_warmup_steps) / (self.num_training_steps - self.num_warmup_steps)
        height = math.cos(math.pi / 2 * min(way, 1.0)) ** 2
        return self.learning_rate * height + self.min_lr * (1 - height)


def read_samples(data_dir: Path, model_dir: Path) -> dict[str, Sample]:
    """Every row of a folder of parquet files, by uuid."""
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    rows = [row for path in sorted(data_dir.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["uuid"]: _sample(row, tokenizer) for row in rows}


def _sample(row: dict, tokenizer) -> Sample:
    """Of a chat the answer is trained, of segments everything that has a token before it."""
    if row["segments"] is not None:
        text = "".join(segment["text"] for segment in json.loads(row["segments"])) + "<|endoftext|>"
        ids = tokenizer(text)["input_ids"]
        return Sample(torch.tensor(ids), torch.tensor([*ids[1:], IGNORED]))
    chat = json.loads(row["messages"])
    assert [turn["role"] for turn in chat] == ["user", "assistant"]
    asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    assert text.startswith(asked)
    assert text.endswith("<|im_end|>\n")
    encoded = tokenizer(text + "<|endoftext|>", return_offsets_mapping=True)
    answer = range(len(asked), len(text) - len("\n"))
    trained = [start in answer for start, _ in encoded["offset_mapping"]]
    ids = encoded["input_ids"]
    labels = [token if is_trained else IGNORED for token, is_trained in zip(ids, trained, strict=True)]
    return Sample(torch.tensor(ids), torch.tensor([*labels[1:], IGNORED]))


def train(
    model_dir: Path, steps: Iterable[Sequence[Sample]], *, recipe: Recipe, first_row: int | None = None
) -> tuple[list[tuple], dict[str, torch.Tensor]]:
    """Train; (step, mean loss, gradient norm before clipping) of every step, and the final weights.

    With `first_row`, only the rows from there on of embedding and head train: the whole tables are given to
    AdamW, and the gradients of the rows before are zeroed.
    """
    model = Qwen3ForCausalLM.from_pretrained(model_dir, attn_implementation="sdpa", dtype=torch.float32)
    model.train()
    tables = {model.get_input_embeddings().weight, model.get_output_embeddings().weight}
    if first_row is not None:
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in tables)
    optimizer = _adamw(model, recipe)
    curve = []
    for step, samples in enumerate(steps, start=1):
        loss = _backward(model, samples)
        if first_row is not None:
            for table in tables:
                table.grad[:first_row] = 0
        norm = _clip(model, recipe.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        optimizer.step()
        optimizer.zero_grad()
        curve.append((step, loss, norm))
    return curve, {name: tensor.detach() for name, tensor in model.state_dict().items()}


def _adamw(model: Qwen3ForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    decaying, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (decaying if name.split(".")[-2] in DECAYING else others).append(parameter)
    groups = [
        {"params": decaying, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        betas=betas,
        fused=False,
        foreach=False,
    )


def _backward(model: Qwen3ForCausalLM, samples: Sequence[Sample]) -> float:
    """Gradients of the mean loss over all trained tokens of the samples; the mean."""
    trained_tokens = sum(int((sample.labels_T != IGNORED).sum()) for sample in samples)
    total = 0.0
    for sample in samples:
        logits_TV = model(input_ids=sample.input_ids_T[None], use_cache=False).logits[0]
        loss = cross_entropy(logits_TV, sample.labels_T, ignore_index=IGNORED, reduction="sum")
        (loss / trained_tokens).backward()
        total += loss.item()
    return total / trained_tokens


def _clip(model: Qwen3ForCausalLM, max_norm: float) -> float:
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm, foreach=False))
