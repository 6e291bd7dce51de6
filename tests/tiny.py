"""A tiny real programme: parquet rows, a small expanded Qwen3, a prepared store, and stages to train on them.

Everything is made by the code under test; nothing here fakes a part of it.
"""

import json
import os
import random
import subprocess
import sys
import uuid
from pathlib import Path

from onerec.build.rows import Row, write_rows
from onerec.config import (
    ConvertConfig,
    Dataset,
    ExpandVocabConfig,
    InitModel,
    InitModelConfig,
    PrepareConfig,
    StageSource,
    Vocab,
)
from onerec.convert import convert
from onerec.data.preparation.prepare import prepare
from onerec.model.expand import expand_vocab
from onerec.model.init import init_model
from onerec.vocab import item_text

VOCAB = Vocab(itemic_layer_n=3, vocab_size_per_layer=8, alignment=16)
MAX_LENGTH = 128
WORDS = ("quiet", "river", "stone", "garden", "winter", "morning", "letter", "harbour", "copper", "lantern")


def rows(count=60, seed=0):
    """Histories and chats about items, as OpenOneRec has them."""
    pick = random.Random(seed)

    def item():
        return item_text((pick.randrange(8), pick.randrange(8), pick.randrange(8)))

    for number in range(count):
        items = [item() for _ in range(pick.randrange(2, 12))]
        if number % 3:
            yield Row(
                _uuid(number),
                "history",
                {"user": number},
                segments=(f"{pick.choice(WORDS)}: ", "".join(items)),
            )
        else:
            question = {"role": "user", "content": f"after {pick.choice(WORDS)} " + "".join(items)}
            answer = {"role": "assistant", "content": item()}
            yield Row(_uuid(number), "next_item", {"user": number}, messages=(question, answer))


def _uuid(number):
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def make(folder: Path, *, tied=True) -> Path:
    """`folder`/data (parquet), model (expanded Qwen3), store (prepared); returns the folder."""
    write_rows(rows(), folder / "data")
    sizes = InitModel(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=48,
        max_position_embeddings=256,
        tokenizer_vocab_size=320,
        corpus=(StageSource(stage="data", name="data"),),
    )
    init_model(
        InitModelConfig(
            output_dir=str(folder / "base"),
            seed=3,
            corpus_dirs=(str(folder / "data"),),
            model=sizes,
            use_tie_weights=tied,
        )
    )
    expand_vocab(
        ExpandVocabConfig(
            output_dir=str(folder / "expanded"),
            seed=3,
            base_model_dir=str(folder / "base" / "model"),
            model_class="Qwen3ForCausalLM",
            vocab=VOCAB,
        )
    )
    dataset = Dataset(sources="data", max_length=MAX_LENGTH, num_processes=1)
    prepare(
        PrepareConfig(
            output_dir=str(folder / "store"),
            tokenizer_dir=str(folder / "expanded" / "model"),
            sources=(str(folder / "data"),),
            dataset=dataset,
            vocab=VOCAB,
        )
    )
    return folder


def train_config(folder: Path, output_dir: Path, **changes) -> dict:
    """The config.json of a training stage; `changes` replace whole sections or single keys of them."""
    config = {
        "kind": "train",
        "stage": output_dir.name,
        "output_dir": str(output_dir),
        "tensorboard_dir": str(output_dir / "log"),
        "stop_file": str(output_dir.parent / f"{output_dir.name}.stop"),
        "seed": 5,
        "model": {"model_dir": str(folder / "expanded" / "model")},
        "vocab": VOCAB.model_dump(),
        "data": {
            "datasets": [{"name": "tiny", "store_dir": str(folder / "store")}],
            "max_length": MAX_LENGTH,
            "num_epochs": 1,
            "num_workers": 0,
            "local_shuffle_buffer_size": 1000,
            "shuffle_seed": 5,
        },
        "optim": {"learning_rate": 0.01, "num_warmup_steps": 2, "num_training_steps": 12},
        "trainable": {},
        "compute": {"enable_gradient_checkpointing": False},
        "checkpoint": {"save_checkpoint_per_step": 3, "keep_checkpoints": 9},
        "monitor": {"logging_per_step": 1},
        "validating": {},
        "duration": {"packs_per_step": 2},
    }
    for section, values in changes.items():
        config[section] = {**config[section], **values} if isinstance(values, dict) else values
    return config


def command(config: dict, *, ranks=1) -> list[str]:
    """Write the config where the stage lives; the command that runs it."""
    output_dir = Path(config["output_dir"])
    output_dir.mkdir(parents=True, exist_ok=True)
    path = output_dir / "config.json"
    path.write_text(json.dumps(config))
    if ranks == 1:
        return [sys.executable, "-m", "onerec", str(path)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return [*launcher, "--log-dir", str(output_dir / "elastic"), "-m", "onerec", str(path)]


def environment() -> dict[str, str]:
    """One thread per process, so that sums do not depend on how many ranks share the machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "RUNNER_ATTEMPT": "1"}


def run(config: dict, *, ranks=1, expect=0) -> subprocess.CompletedProcess:
    """Run a stage to its end; fails with its output when it ends with another code."""
    done = subprocess.run(
        command(config, ranks=ranks),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        timeout=240,
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def export(config: dict, folder: Path) -> Path:
    """The Hugging Face folder in fp32 of a stage's newest checkpoint."""
    stage_dir = Path(config["output_dir"])
    told = convert(
        ConvertConfig(
            output_dir=str(stage_dir / "convert"),
            stage_dir=str(stage_dir),
            model_dir=str(folder / "expanded" / "model"),
            dtype="fp32",
        )
    )
    return Path(str(told["model_dir"]))


def metrics(config: dict) -> list[dict]:
    """The rows of metrics.jsonl."""
    return [
        json.loads(line) for line in (Path(config["output_dir"]) / "metrics.jsonl").read_text().splitlines()
    ]


def curve(config: dict) -> list[tuple]:
    """Step, loss and gradient norm of every row: the numbers that must not depend on how a stage was run."""
    return [(row["step"], row["loss"], row["grad_norm"]) for row in metrics(config)]
