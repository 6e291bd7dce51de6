"""The GPU benchmark walks its whole way on the CPU: rows are measured, or void for a reason that is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks import gpu
from tests.benchmarks.gpu_rows import samples
from tests.benchmarks.gpu_rows.registry import ORDER, REGISTRY, load_rows
from tests.benchmarks.gpu_rows.sizes import REAL, REHEARSAL
from tests.benchmarks.gpu_rows.stage2 import NO_PEAK
from tests.benchmarks.harness import Benchmark, Figure, Line

ROOT = Path(__file__).parents[2]
GPU = Path("tests/benchmarks/gpu.py")
load_rows()


def test_a_rehearsal_measures_every_row(tmp_path):
    done = subprocess.run(
        [sys.executable, GPU, "--rehearse", "--json", tmp_path / "gpu.json", "--folder", tmp_path],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    lines = json.loads((tmp_path / "gpu.json").read_text())["lines"]
    assert {line["row"] for line in lines} == set(ORDER), done.stderr
    void = {line["row"]: line["void"] for line in lines if line["void"]}
    assert list(void) == ["G2"], done.stderr
    assert void["G2"].startswith(NO_PEAK)
    exact = [line for line in lines if line["goal"] and line["goal"]["unit"] == ""]
    assert [(line["row"], line["value"]) for line in exact] == [("G7", 0.0), ("G10", 0.0)]
    rows = [text.split()[0] for text in done.stdout.splitlines()[1 : 1 + len(lines)]]
    assert rows == [line["row"] for line in lines]
    assert [path.name for path in tmp_path.iterdir()] == ["gpu.json"]  # checkpoints and data are gone
    assert done.returncode == 1


def test_a_row_without_time_is_void_and_told_so(tmp_path, capsys):
    path = tmp_path / "gpu.json"
    assert gpu.main(["G4", "--rehearse", "--minutes", "0", "--json", str(path)]) == 1
    [line] = json.loads(path.read_text())["lines"]
    assert "no time was left" in line["void"]
    assert "VOID" in capsys.readouterr().out


def test_a_row_that_fails_is_void_with_its_error_and_the_next_one_still_runs(tmp_path, capsys, monkeypatch):
    def fails(_):
        yield Line("half of it", Figure("ours", (1.0,)))
        raise RuntimeError("the disk is gone\nand so on")

    monkeypatch.setitem(REGISTRY.rows, "G4", Benchmark("G4", "first", fails))
    monkeypatch.setitem(REGISTRY.rows, "G1", Benchmark("G1", "second", lambda _: [Line("measured")]))
    path = tmp_path / "gpu.json"
    assert gpu.main(["G1", "G4", "--rehearse", "--json", str(path)]) == 1
    told = [(line["row"], line["workload"], line["void"]) for line in json.loads(path.read_text())["lines"]]
    void = ("G4", "first", "RuntimeError: the disk is gone")
    assert told == [("G1", "measured", ""), ("G4", "half of it", ""), void]
    assert "the disk is gone" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_says_how_to_rehearse(capsys):
    assert gpu.main([]) == 2
    assert "--rehearse" in capsys.readouterr().err


def test_drawn_packs_have_the_shape_of_the_corpus(tmp_path):
    store = samples.write_store(tmp_path / "store", REAL)
    epoch = samples.loader(store, REAL, num_workers=0).total_packs // samples.EPOCHS
    packs = samples.packs(store, REAL, count=epoch)
    fullness = sorted(pack.tokens / REAL.max_length for pack in packs)
    assert fullness[1] > 0.99  # one is the last of the epoch
    tokens = sum(pack.tokens for pack in packs)
    read = sum(pack.read_S2 for pack in packs)
    shares = dict(zip(samples.SOURCES, (read[:, 1] / read[:, 1].sum()).tolist(), strict=True))
    assert shares["history"] == pytest.approx(0.4, abs=0.03)
    assert shares["general"] == pytest.approx(0.2, abs=0.03)
    trained = sum(pack.trained_tokens for pack in packs) / tokens
    assert 0.7 < trained < 0.95  # answers alone of chat, nearly all of the rest
    itemic = int(sum(pack.trained_S2[:, 1].sum() for pack in packs))
    assert 0.3 < itemic / tokens < 0.7


def test_a_rehearsal_differs_from_the_real_thing_in_size_alone():
    assert set(REAL.models) == set(REHEARSAL.models)
    real = REAL.config("1.7B")
    parameters = real.vocab_size * real.hidden_size + real.num_hidden_layers * (
        real.hidden_size * real.head_dim * 2 * (real.num_attention_heads + real.num_key_value_heads)
        + 3 * real.hidden_size * real.intermediate_size
    )
    assert parameters == pytest.approx(1.77e9, rel=0.005)
    assert parameters * 12 == pytest.approx(21e9, rel=0.02)  # weights and two moments: the checkpoint of G5
