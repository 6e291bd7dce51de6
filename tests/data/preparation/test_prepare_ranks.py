"""Preparation by several ranks under the real launchers, each rank with processes of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from onerec.config import dump_config
from onerec.data.preparation.prepare import prepare
from tests.data.rows import as_columns, sample_rows, text, write_rows

REPOSITORY = Path(__file__).parents[3]
MPIRUN = Path(sys.executable).with_name("mpirun")
LAUNCHERS = [
    "torchrun",
    pytest.param(
        "mpirun",
        marks=pytest.mark.skipif(
            not MPIRUN.exists() and shutil.which("mpirun") is None, reason="needs mpirun"
        ),
    ),
]


def command(launcher: str, config: Path) -> list[str]:
    """Two ranks of `python -m onerec`."""
    module = ["-m", "onerec", str(config)]
    if launcher == "torchrun":
        return [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "--log-dir", str(config.parent / "torchrun"), *module),
        ]
    mpirun = str(MPIRUN) if MPIRUN.exists() else "mpirun"
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    rendezvous = ["-x", f"RUNNER_RENDEZVOUS={config.parent / 'rendezvous.json'}", "-x", "RUNNER_NONCE=n"]
    return [
        mpirun,
        "-np",
        "2",
        "--host",
        "localhost:2",
        "--bind-to",
        "none",
        *root,
        *rendezvous,
        sys.executable,
        *module,
    ]


def start(launcher: str, config: Path) -> subprocess.Popen[str]:
    (config.parent / "rendezvous.json").unlink(missing_ok=True)
    return subprocess.Popen(
        command(launcher, config),
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def descendants(process: int) -> list[int]:
    """A process and all below it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def kill_all(process: subprocess.Popen[str]) -> None:
    for one in descendants(process.pid):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that makes the store, by name."""
    found = [*folder.glob("tokens/*"), *folder.glob("index-*/*"), folder / "rejects.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def many_files(make_config, tmp_path):
    """A config of 13 files of different sizes, one row of them bad, written down; and the store wanted."""
    for part in range(12):
        rows = [*sample_rows(60 + 40 * part, start=1000 * part)]
        write_rows(tmp_path / "data" / f"{part:02d}.parquet", rows)
    bad = {**as_columns(text("x")), "source": ""}
    write_rows(tmp_path / "data" / "12.parquet", [*sample_rows(100, start=90_000), bad])
    config = make_config(tmp_path / "data", num_processes=1)
    alone = config.model_copy(update={"output_dir": str(tmp_path / "alone")})
    prepare(alone)
    (tmp_path / "config.json").write_text(dump_config(config))
    return tmp_path / "config.json", contents(tmp_path / "alone")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_ranks_make_the_store_of_one_process_and_each_does_its_share(launcher, many_files):
    config, wanted = many_files
    process = start(launcher, config)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    folder = config.parent / "prepared"
    assert contents(folder) == wanted
    result = json.loads((folder / "result.json").read_text())
    assert result["preparation"]["files_tokenised"] == 13
    progress = json.loads((folder / "progress.json").read_text())
    assert (progress["done"], progress["total"], progress["unit"]) == (13, 13, "files")
    assert progress["bytes_done"] == progress["bytes_total"] == result["bytes"]
    assert output.count("13/13 files") == 1


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_fault_of_one_rank_ends_all_with_the_same_message_and_code(launcher, many_files):
    config, _ = many_files
    broken = config.parent / "data" / "03.parquet"
    damaged = bytearray(broken.read_bytes())
    damaged[40] ^= 0xFF
    damaged[400] ^= 0xFF
    broken.write_bytes(damaged)
    process = start(launcher, config)
    _, errors = process.communicate(timeout=120)
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert process.returncode != 0
    assert len(told) == 2
    assert told[0] == told[1]
    assert "03.parquet" in told[0]
    if launcher == "mpirun":
        assert process.returncode == 6


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))])
def test_two_ranks_killed_at_any_moment_go_on_where_they_were(many_files, seed):
    config, wanted = many_files
    tokens = config.parent / "prepared" / "tokens"
    wait_for = random.Random(seed).randint(1, 9)
    process = start("torchrun", config)
    while process.poll() is None and len(list(tokens.glob("[!.]*.json"))) < wait_for:
        time.sleep(0.002)
    kill_all(process)
    done = {path: path.stat().st_mtime_ns for path in tokens.glob("[!.]*.json")}
    process = start("torchrun", config)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert 0 < len(done) < 13
    assert f"{len(done)} of 13 files are prepared already" in output
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert contents(config.parent / "prepared") == wanted
