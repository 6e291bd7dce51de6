"""C15: a small Qwen3 trained end to end on the CPU, against TRL's SFTTrainer.

Four layers of width 256 with the real vocabulary of 176,384 rows, tied, fp32, all cores, one pack of at most
4,096 tokens a step, one epoch, no activation checkpointing, nothing compiled. Both begin with tokenised
samples on disk (ours with its store, TRL with the same ids and labels as parquet) and read every sample once,
so both train the same tokens; each packs them itself. TRL as its documentation recommends: bfd packing, its
chunked LM head (its only loss, and in use without being asked for), fused AdamW, sdpa attention; its default
checkpointing of activations, which would cost it time, is off. Both write one checkpoint at the end.

Steady state leaves out the first steps and what comes before and after the steps; the whole run is a process
from its start, imports included, to its end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from onerec.config import DataOrder, ExpandVocabConfig, InitModel, InitModelConfig
from onerec.data.loading.load import PackLoader
from onerec.model.expand import expand_vocab
from onerec.model.init import init_model
from tests import qwen3_tokenizer
from tests.benchmarks import materials
from tests.benchmarks.environment import TIMEOUT_SECONDS, Bench, child_environment
from tests.benchmarks.harness import (
    Line,
    Lines,
    Run,
    Void,
    at_least,
    benchmark,
    figure,
    in_turn,
    require_equal,
)

TITLE = "small Qwen3 (4 layers, width 256), 4k packs, trained tokens/s"
ROWS, MAX_LENGTH = 48, 4096
SEED = 0
WARM_UP_STEPS = 1
"""Steps that steady state leaves out."""
LOSS_TOLERANCE = 0.05
"""Of the mean loss of the epoch: both see the samples once, in other packs and another order."""
SIZES = InitModel(
    hidden_size=256,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,
    intermediate_size=768,
    max_position_embeddings=MAX_LENGTH,
    tokenizer_dir="given when it is made",
)
RECIPE = {"learning_rate": 1e-3, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "max_grad_norm": 1.0}


@benchmark("C15", TITLE)
def end_to_end(bench: Bench) -> Lines:
    """Trained tokens/s of the steps alone, and of whole processes."""
    model_dir = bench.kept("small-qwen3", _make_model) / "expanded" / "model"
    store = materials.prepared(bench, f"store-{ROWS}", materials.corpus(bench, rows=ROWS))
    samples = bench.kept(f"samples-{ROWS}", lambda folder: _write_samples(folder, store))
    runs = in_turn(
        {
            "ours": lambda: _ours(bench, model_dir, store),
            "TRL": lambda: _theirs(bench, model_dir, samples / "samples.parquet"),
        },
        repeats=bench.times(3),
    )
    require_equal(
        "trained tokens", {name: [run["trained_tokens"] for run in made] for name, made in runs.items()}
    )
    _require_close(runs)
    steps = {name: made[0]["steps"] for name, made in runs.items()}
    note = f"{runs['ours'][0]['trained_tokens']:,} trained tokens in steps of one pack: {steps}; "
    note += "mean losses " + ", ".join(f"{name} {made[0]['loss']:.3f}" for name, made in runs.items())
    for what, key, goal in (
        ("steady state", "steady", at_least(1.5)),
        ("whole run", "seconds_a_token", None),
    ):
        lines = [figure(name, made, key=key) for name, made in runs.items()]
        yield Line(f"{TITLE}: {what}, time of a trained token", *lines, goal, note=note if goal else "")


def _make_model(folder: Path) -> None:
    """A random Qwen3 with the real tokenizer, expanded by our own program."""
    sizes = SIZES.model_copy(update={"tokenizer_dir": str(qwen3_tokenizer.folder())})
    base = InitModelConfig(
        output_dir=str(folder / "base"), seed=SEED, corpus_dirs=(), model=sizes, use_tie_weights=True
    )
    init_model(base)
    expand_vocab(
        ExpandVocabConfig(
            output_dir=str(folder / "expanded"),
            seed=SEED,
            base_model_dir=str(folder / "base" / "model"),
            model_class="Qwen3ForCausalLM",
            vocab=materials.VOCAB,
        )
    )


def _data(store: Path) -> dict[str, Any]:
    return {
        "datasets": [{"name": "corpus", "store_dir": str(store)}],
        "max_length": MAX_LENGTH,
        "num_epochs": 1,
        "num_workers": 1,
        "local_shuffle_buffer_size": 100_000,
        "shuffle_seed": SEED,
    }


def _write_samples(folder: Path, store: Path) -> None:
    """Ids and labels of every sample as SFTTrainer takes them: the label of a position is its own token."""
    order = DataOrder.model_validate_json(json.dumps({**_data(store), "num_workers": 0}))
    rows = []
    for step in PackLoader(order, rank=0, world_size=1, packs_per_step=1, pad_to=None):
        [pack] = step.packs
        lengths = pack.cu_seqlens.diff().tolist()
        for ids, labels in zip(pack.input_ids_T.split(lengths), pack.labels_T.split(lengths), strict=True):
            rows.append({"input_ids": ids.tolist(), "labels": [-100, *labels.tolist()[:-1]]})
    rows.sort(key=lambda row: row["input_ids"])  # TRL shuffles its packs itself
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")


def _ours(bench: Bench, model_dir: Path, store: Path) -> Run:
    bench.tell("  ours: python -m onerec")
    with tempfile.TemporaryDirectory() as scratch:
        output_dir = Path(scratch) / "stage"
        output_dir.mkdir()
        path = output_dir / "config.json"
        path.write_text(json.dumps(_config(output_dir, model_dir, store)), encoding="utf-8")
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "onerec", path],
            capture_output=True,
            text=True,
            check=False,
            env={**child_environment(), "OMP_NUM_THREADS": str(os.cpu_count()), "RUNNER_ATTEMPT": "1"},
            timeout=TIMEOUT_SECONDS,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise Void(f"our stage ended with {done.returncode}: {done.stderr[-300:]}")
        rows = [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]
    return _told(rows, seconds=seconds)


def _config(output_dir: Path, model_dir: Path, store: Path) -> dict[str, Any]:
    return {
        "kind": "train",
        "stage": "end_to_end",
        "output_dir": str(output_dir),
        "tensorboard_dir": str(output_dir / "log"),
        "stop_file": str(output_dir.parent / "stop"),
        "seed": SEED,
        "model": {"model_dir": str(model_dir)},
        "vocab": materials.VOCAB.model_dump(),
        "data": _data(store),
        "optim": {**RECIPE, "lr_scheduler_type": "cosine"},
        "trainable": {},
        "compute": {"enable_gradient_checkpointing": False, "compute_dtype": "fp32", "compile": "off"},
        "checkpoint": {"save_checkpoint_per_step": 100_000},
        "monitor": {"logging_per_step": 1},
        "validating": {},
        "duration": {"packs_per_step": 1},
    }


def _theirs(bench: Bench, model_dir: Path, samples: Path) -> Run:
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        told = bench.peer(
            "trl_train",
            model=model_dir,
            samples=samples,
            max_length=MAX_LENGTH,
            recipe=RECIPE,
            seed=SEED,
            threads=os.cpu_count(),
            scratch=scratch,
        )
        return _told(told["rows"], seconds=time.perf_counter() - began)


def _told(rows: list[dict[str, Any]], *, seconds: float) -> Run:
    """Facts of a run from a row for each step: when it was told, its trained tokens and loss."""
    # a step may be told after the next one has been taken, the last one never: it is left out
    steady_seconds = rows[-2]["time"] - rows[WARM_UP_STEPS - 1]["time"]
    trained_tokens = sum(row["trained_tokens"] for row in rows)
    return {
        "steady": steady_seconds / sum(row["trained_tokens"] for row in rows[WARM_UP_STEPS:-1]),
        "seconds_a_token": seconds / trained_tokens,
        "trained_tokens": trained_tokens,
        "steps": len(rows),
        "loss": sum(row["loss"] * row["trained_tokens"] for row in rows) / trained_tokens,
    }


def _require_close(runs: dict[str, list[Run]]) -> None:
    """Void the row unless both learn alike."""
    ours, theirs = (float(made[0]["loss"]) for made in runs.values())
    if abs(ours - theirs) > LOSS_TOLERANCE * theirs:
        raise Void(f"mean losses differ: ours {ours:.3f}, TRL {theirs:.3f}")
