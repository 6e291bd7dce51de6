"""Stage 1 as others do it, on transformers' own model and loss, everything but the embedding frozen.

`full_table`: AdamW over the whole embedding, frozen rows put back after every step, as the reference does.
`peft`: PEFT's trainable_token_indices for the same rows.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import Qwen3ForCausalLM

from tests.benchmarks import stage1


def full_table(model_dir: Path, documents: int) -> stage1.Trainer:
    model = load(model_dir)
    model.requires_grad_(False)
    table = model.get_input_embeddings().weight
    table.requires_grad_(True)
    kept = table.detach()[: stage1.FIRST_ROW].clone()

    def restore() -> None:
        with torch.no_grad():
            table[: stage1.FIRST_ROW] = kept

    return trainer(model, table.detach, documents, after_step=restore)


def peft(model_dir: Path, documents: int) -> stage1.Trainer:
    from peft import TrainableTokensConfig, get_peft_model

    rows = list(range(stage1.FIRST_ROW, stage1.ROWS))
    model = get_peft_model(
        load(model_dir), TrainableTokensConfig(target_modules=["embed_tokens"], token_indices=rows)
    )

    def table_VD() -> torch.Tensor:
        merged = model.merge_and_unload()
        return merged.get_input_embeddings().weight.detach()

    return trainer(model, table_VD, documents)


def load(model_dir: Path) -> Qwen3ForCausalLM:
    model = Qwen3ForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="sdpa")
    return model.train()


def trainer(model, table_VD, documents, *, after_step=lambda: None) -> stage1.Trainer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True, **stage1.RECIPE)
    ids, labels = stage1.token_ids(documents), stage1.trained_ids(documents)

    def step() -> float:
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1e9)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        after_step()
        return loss.item()

    return stage1.Trainer(step, table_VD, optimizer)


if __name__ == "__main__":
    stage1.tell({"full_table": full_table, "peft": peft}[json.loads(sys.argv[1])["kind"]])
