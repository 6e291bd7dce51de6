"""Stage 1 through what training uses on one rank: split tables, FSDP2, stepper and optimizer."""

from pathlib import Path

import numpy as np
import torch

from onerec.config import Compute, ModelSource, Optim, Trainable
from onerec.data.loading.batch import Kinds, pack_of, packed
from onerec.distributed import World, process_group
from onerec.model.build import build_model, read_config
from onerec.model.load import load_weights
from onerec.model.shard import build_mesh, shard
from onerec.train.loss import PackedLanguageModel
from onerec.train.optimizer import build_optimizer
from onerec.train.step import Stepper, Wishes, count
from tests.benchmarks import stage1

CPU = torch.device("cpu")


def build(model_dir: Path, documents: int) -> stage1.Trainer:
    compute = Compute(enable_gradient_checkpointing=False)
    lm = build_model(
        read_config(ModelSource(model_dir=str(model_dir))),
        trainable=Trainable(freeze_llm=True),
        compute=compute,
        first_itemic_id=stage1.FIRST_ROW,
    )
    model = PackedLanguageModel(lm, minibatch_size=compute.minibatch_size)
    shard(model, lm, mesh=build_mesh(CPU, world_size=1, local_size=1), device=CPU, compute=compute)
    load_weights(lm, model_dir, allow_random=False, seed=0)
    recipe = stage1.RECIPE
    beta1, beta2 = recipe["betas"]
    optim = Optim(learning_rate=recipe["lr"], beta1=beta1, beta2=beta2, adam_epsilon=recipe["eps"])
    optimizer = build_optimizer(lm, optim=optim)
    stepper = Stepper(model, optimizer, max_grad_norm=1e9, num_sources=1, world_size=1, device=CPU)
    packs = (pack(documents),)

    def step() -> float:
        return stepper.take(packs, totals=count(packs, wishes=Wishes())).figures().loss

    def table_VD() -> torch.Tensor:
        table_VD, rows_RD = lm.model.embed_tokens.weight, lm.model.embed_tokens.itemic_rows
        whole_VD = table_VD.detach().full_tensor().clone()
        whole_VD[stage1.FIRST_ROW :] = rows_RD.detach().full_tensor()
        return whole_VD

    return stage1.Trainer(step, table_VD, optimizer)


def pack(documents):
    ids = stage1.token_ids(documents).numpy().astype(np.int32)
    labels = np.roll(stage1.trained_ids(documents).numpy().astype(np.int32), -1, axis=1)
    labels[:, -1] = -100
    itemic = range(stage1.FIRST_ROW, stage1.FIRST_ROW + stage1.ITEMIC_ROWS)
    return pack_of(
        packed(
            ids.ravel(),
            labels.ravel(),
            Kinds(1, itemic),
            lengths=np.full(documents, stage1.LENGTH, dtype=np.int32),
            sources=np.zeros(documents, dtype=np.int32),
            uuids=tuple(map(str, range(documents))),
            pack=0,
        )
    )


if __name__ == "__main__":
    with process_group(World(0, 1, 0, 1, "single"), device=CPU, env={}):
        stage1.tell(build)
