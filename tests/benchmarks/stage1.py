"""The problem of C9, and what each of its scripts tells: a stage-1 step of a Qwen3 with the real vocabulary.

A script builds its trainer, takes one step to warm up, then steps that are timed; all train on the same
tokens from the same weights, so that the rows they end with can be compared.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from transformers import Qwen3Config, Qwen3ForCausalLM

ROWS, FIRST_ROW, ITEMIC_ROWS, WIDTH = 176_384, 151_669, 24_578, 1024
LENGTH, PROMPT = 128, 22
"""Tokens after the prompt are trained: 83 %, as in the corpus of the benchmarks."""
TIMED_STEPS = 2
SEED = 20260817
RECIPE = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0}
EMBEDDING = "model.embed_tokens.weight"


class Trainer(NamedTuple):
    """A stage-1 trainer with its model loaded."""

    step: Callable[[], float]
    """Forward, backward and update; gives the loss."""
    table_VD: Callable[[], torch.Tensor]
    """The embedding table as it is now."""
    optimizer: torch.optim.Optimizer


def make_model(folder: Path) -> None:
    """A random tied Qwen3 of two layers of Qwen3-0.6B, with the expanded vocabulary, in bf16."""
    torch.manual_seed(SEED)
    config = Qwen3Config(
        vocab_size=ROWS,
        hidden_size=WIDTH,
        intermediate_size=3072,
        num_hidden_layers=2,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
        architectures=["Qwen3ForCausalLM"],
    )
    Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def token_ids(documents: int) -> torch.Tensor:
    """Documents of which three tokens in five are itemic; shape documents x LENGTH."""
    generator = torch.Generator().manual_seed(SEED)
    text, itemic = (
        torch.randint(low, high, (documents, LENGTH), generator=generator)
        for low, high in ((0, FIRST_ROW), (FIRST_ROW, FIRST_ROW + ITEMIC_ROWS))
    )
    return torch.where(torch.rand(documents, LENGTH, generator=generator) < 0.6, itemic, text)


def trained_ids(documents: int) -> torch.Tensor:
    """The same, with -100 for the tokens that are not trained."""
    ids = token_ids(documents)
    ids[:, :PROMPT] = -100
    return ids


def tell(build: Callable[[Path, int], Trainer]) -> None:
    """Take the steps; seconds of one, losses, bytes of optimizer state, and what became of the table."""
    torch.set_num_threads(1)
    given = json.loads(sys.argv[1])
    model_dir = Path(given["model_dir"])
    trainer = build(model_dir, given["documents"])
    losses = [trainer.step()]
    began = time.perf_counter()
    losses += [trainer.step() for _ in range(TIMED_STEPS)]
    seconds = (time.perf_counter() - began) / TIMED_STEPS
    print(json.dumps({"seconds": seconds, "losses": losses, **_outcome(trainer, model_dir)}))


def _outcome(trainer: Trainer, model_dir: Path) -> dict[str, Any]:
    before_VD = load_file(model_dir / "model.safetensors")[EMBEDDING].float()
    after_VD = trainer.table_VD()
    moved_RD = (after_VD - before_VD)[FIRST_ROW:]
    along_D = torch.randn(WIDTH, generator=torch.Generator().manual_seed(SEED))
    return {
        "frozen": torch.equal(after_VD[:FIRST_ROW], before_VD[:FIRST_ROW]),
        "moved_rows": int(moved_RD[:ITEMIC_ROWS].any(dim=1).sum()),
        "moved": [float(moved_RD.norm()), *(moved_RD @ along_D)[:: ITEMIC_ROWS // 64].tolist()],
        "bytes": sum(
            tensor.nbytes
            for state in trainer.optimizer.state.values()
            for tensor in state.values()
            if isinstance(tensor, torch.Tensor) and tensor.ndim
        ),
    }
