"""Random Qwen3 models as checkpoints of a stage: what C11 and C12 convert and save."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

ROWS = 176_384
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128},
    "0.6B": {"hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072},
    "1.7B": {"hidden_size": 2048, "num_hidden_layers": 28, "intermediate_size": 6144},
}
"""As Qwen3's own configurations have them."""
STEP = 100


def config_of(size: str) -> Any:
    """The configuration, with the expanded vocabulary."""
    from transformers import Qwen3Config

    heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
    rows = ROWS if size != "tiny" else 512
    return Qwen3Config(
        **SHAPES[size], **heads, vocab_size=rows, tie_word_embeddings=True, architectures=["Qwen3ForCausalLM"]
    )


def make(folder: Path, *, size: str) -> None:
    """`folder`/model (config alone) and `folder`/stage/step100, a committed checkpoint of fp32 weights."""
    import torch
    from transformers import Qwen3ForCausalLM

    from onerec.checkpoint import commit
    from onerec.checkpoint.state import TrainerState, document_of
    from onerec.checkpoint.tensors import write

    config = config_of(size)
    config.save_pretrained(folder / "model")
    (folder / "model" / "model.safetensors").touch()  # a folder without weights is none; these are never read
    with torch.device("meta"):
        shapes = {name: one.shape for name, one in Qwen3ForCausalLM(config).named_parameters()}
    generator = torch.Generator().manual_seed(7)
    tensors = {
        name: torch.empty(shape).normal_(0, 0.02, generator=generator) for name, shape in shapes.items()
    }
    temporary = commit.begin(folder / "stage", STEP, attempt="1")
    data = commit.data_dir(temporary)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        write(tensors, data / "model")
    state = TrainerState(STEP, 1.0, {"fingerprint": "random"}, 1, {"random": [1, 1]}, {"stage": "stage"})
    (data / "trainer.json").write_text(json.dumps(document_of(state)))
    commit.commit(temporary, folder / "stage", STEP)
