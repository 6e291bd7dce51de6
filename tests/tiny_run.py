"""The tiny programme as a manifest, and tools to run it with the real runner and to compare runs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MANIFEST = """
name = "tiny"
seed = 7

[model]
base_model_dir = "{base}"

[vocab]
itemic_layer_n = 3
vocab_size_per_layer = 8
alignment = 16

[cluster]
{cluster}

[datasets.mixed]
sources = "{rows}"
max_length = 128
num_workers = 1
num_processes = 1

[training]
enable_gradient_checkpointing = false
logging_per_step = 1
save_checkpoint_per_step = 2
packs_per_step = 2
num_warmup_steps = 2

[stages.expand]
kind = "expand_vocab"

[stages.stage1]
kind = "train"
dataset = "mixed"
freeze_llm = true
learning_rate = 1e-2
max_steps = 4

[stages.stage2]
kind = "train"
dataset = "mixed"
learning_rate = 5e-3

[stages.test]
kind = "test_model"
max_new_tokens = 4
"""
STAGES = ("stage1", "stage2")


def write_manifest(folder, programme, *, cluster='launcher = "local"'):
    path = folder / "tiny.toml"
    path.write_text(
        MANIFEST.format(base=programme / "base" / "model", rows=programme / "data", cluster=cluster)
    )
    return path


def environment(folder):
    """One thread per process, so that the number of ranks changes no sum; this environment's mpirun."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path, "HOME": str(folder)}


def runner(folder, *arguments, expect=0):
    """Run a verb in `folder`; fails with its output when it ends with another code."""
    done = subprocess.run(
        [sys.executable, "-m", "runner", *map(str, arguments)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def curves(folder):
    """Loss and gradient norm of every step of every training stage."""
    return {
        stage: [
            (row["step"], row["loss"], row["grad_norm"])
            for row in map(
                json.loads, (folder / "runs/tiny" / stage / "metrics.jsonl").read_text().splitlines()
            )
        ]
        for stage in STAGES
    }


def processes_of(folder):
    """Command lines of live processes that have the run's folder in them, or in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line, env = ((entry / name).read_bytes().replace(b"\0", b" ") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if str(folder / "runs").encode() in line + env and int(entry.name) != os.getpid():
            found.append(line)
    return found


def two_ranks(folder, launcher):
    """The [cluster] of two ranks; the test is skipped without the launcher."""
    cluster = f'launcher = "{launcher}"\nnproc_per_node = 2\nenv = {{ OMP_NUM_THREADS = "1" }}'
    if launcher == "torchrun":
        return cluster
    if shutil.which("mpirun", path=environment(folder)["PATH"]) is None:
        pytest.skip("no mpirun; it comes with the extra `test`")
    (folder / "hosts").write_text("localhost slots=2\n")
    return cluster + '\nhostfile = "hosts"'


def checkpoint_bits(folder, name, *, stage="stage2"):
    """Digests of everything in a checkpoint that holds tensors."""
    record = json.loads((folder / "runs/tiny" / stage / name / "COMMIT.json").read_text())
    return {name: digest for name, digest in record["sha256"].items() if name.endswith(".distcp")}
