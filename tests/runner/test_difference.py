from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from onerec.errors import ConfigError
from runner.difference import Side, compare, difference_text, side_of
from runner.manifest import load
from tests.runner.page.made import make_run
from tests.runner.page.test_evaluation import make as evaluated

MANIFEST = Path(__file__).parent.parent.parent / "manifests" / "movielens.toml"


def side(**more: Any) -> Side:
    return Side(**{"kind": "run", "name": "a", "path": "/runs/a", "manifest": {}, **more})


def test_equal_manifests_do_not_differ() -> None:
    a, b = side_of(str(MANIFEST)), side_of(str(MANIFEST))
    found = compare(a, b)
    assert found["equal"]
    assert difference_text(found) == f"a: manifest {MANIFEST}\nb: manifest {MANIFEST}\n\nnothing differs"


def test_changed_keys_stand_under_what_they_may_change() -> None:
    changes = [
        "stages.sft.learning_rate=2e-3",
        "cluster.nproc_per_node=4",
        "datasets.sft.num_workers=2",
        "stages.stage1.logging_per_step=7",
    ]
    a = side_of(str(MANIFEST))
    b = Side("manifest", "movielens", "b.toml", load(MANIFEST, changes).resolved)
    found = compare(a, b)
    assert found["manifest"] == {
        "result": [{"key": "stages.sft.learning_rate", "a": 0.0008, "b": 0.002}],
        "topology": [{"key": "cluster.nproc_per_node", "a": 2, "b": 4}],
        "speed": [{"key": "datasets.sft.num_workers", "a": 0, "b": 2}],
        "cosmetic": [{"key": "stages.stage1.logging_per_step", "a": 20, "b": 7}],
    }
    assert not found["equal"]
    assert difference_text(found).split("\n\n")[1:] == [
        "manifest, keys that may change results:\n  stages.sft.learning_rate: 0.0008 -> 0.002",
        "manifest, shape of the cluster:\n  cluster.nproc_per_node: 2 -> 4",
        "manifest, speed only:\n  datasets.sft.num_workers: 0 -> 2",
        "manifest, only what is shown or kept:\n  stages.stage1.logging_per_step: 20 -> 7",
    ]


def test_runs_differ_by_packages_code_hosts_commands_and_results() -> None:
    a = side(
        environment={
            "packages": {"torch": "2.11"},
            "git": {"revision": "abc"},
            "host": "host1",
            "gpus": ["H100"],
        },
        commands={"first": "torchrun --nproc-per-node 2 -m onerec", "gone": "x", "same": "y"},
        results={"first": {"loss": 0.5, "seconds": 60.0, "tokens": 1000.0}},
    )
    b = side(
        environment={
            "packages": {"torch": "2.13"},
            "git": {"revision": "def"},
            "host": "host1",
            "gpus": ["H200"],
        },
        commands={"first": "torchrun --nproc-per-node 4 -m onerec", "same": "y"},
        results={"first": {"loss": 0.4, "seconds": 90.0, "tokens": 1000.0}},
    )
    found = compare(a, b)
    assert found == {
        "schema_version": 1,
        "equal": False,
        "a": {"kind": "run", "name": "a", "path": "/runs/a"},
        "b": {"kind": "run", "name": "a", "path": "/runs/a"},
        "manifest": {"result": [], "topology": [], "speed": [], "cosmetic": []},
        "packages": [{"key": "torch", "a": "2.11", "b": "2.13"}],
        "code": [{"key": "revision", "a": "abc", "b": "def"}],
        "hosts": [{"key": "gpus", "a": ["H100"], "b": ["H200"]}],
        "commands": [
            {
                "key": "first",
                "a": "torchrun --nproc-per-node 2 -m onerec",
                "b": "torchrun --nproc-per-node 4 -m onerec",
            },
            {"key": "gone", "a": "x", "b": None},
        ],
        "results": [
            {"stage": "first", "figure": "loss", "a": 0.5, "b": 0.4, "difference": pytest.approx(-0.1)},
            {"stage": "first", "figure": "tokens", "a": 1000.0, "b": 1000.0, "difference": 0.0},
            {"stage": "first", "figure": "seconds", "a": 60.0, "b": 90.0, "difference": 30.0},
        ],
    }
    assert difference_text(found).split("\n\n")[1:] == [
        "packages:\n  torch: 2.11 -> 2.13",
        "code:\n  revision: abc -> def",
        "hosts and GPUs:\n  gpus: ['H100'] -> ['H200']",
        "commands:\n  first:\n    a: 2\n    b: 4\n  gone: only in a",
        "results  figure   a       b       difference\n"
        "first    loss     0.5000  0.4000  -0.1000 (-20.0%)\n"
        "first    tokens   1,000   1,000   none\n"
        "first    seconds  1m00s   1m30s   +30s (+50.0%)",
    ]


def test_time_and_speed_alone_make_no_difference() -> None:
    a, b = (side(results={"first": {"loss": 0.5, "seconds": taken}}) for taken in (60.0, 90.0))
    found = compare(a, b)
    assert found["equal"]
    assert difference_text(found).endswith("\n\nnothing differs but time and speed")


def test_a_copy_of_a_run_is_equal_to_it_and_one_that_went_further_is_not(tmp_path: Path) -> None:
    run = make_run(tmp_path, rows=20)
    shutil.copytree(run.path, tmp_path / "copy")
    a, b = side_of(str(run.path)), side_of(str(tmp_path / "copy"))
    assert compare(a, b)["equal"]
    with (tmp_path / "copy" / "second" / "validation.jsonl").open("a") as file:
        file.write(json.dumps({"step": 21, "loss": 0.125}) + "\n")
    found = compare(a, side_of(str(tmp_path / "copy")))
    changed = [one for one in found["results"] if one["difference"]]
    assert [(one["stage"], one["figure"], one["b"]) for one in changed] == [
        ("second", "validation loss", 0.125)
    ]
    assert not found["equal"]


def test_commands_are_compared_without_where_the_run_was_when_they_ran(tmp_path: Path) -> None:
    assert (
        side_of(str(make_run(tmp_path).path)).commands["first"]
        == "torchrun -m onerec RUN/first/config.json 'a b'"
    )


def test_what_is_neither_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run at"):
        side_of(str(tmp_path / "none"))


def test_figures_of_evaluations_are_compared(tmp_path: Path) -> None:
    a, b = evaluated(tmp_path / "a"), evaluated(tmp_path / "b")
    path = b.stage("eval").result
    told = json.loads(path.read_text())
    told["table"][0]["recall@10"]["value"] = 0.2
    path.write_text(json.dumps(told))
    found = compare(side_of(str(a.path)), side_of(str(b.path)))
    changed = [one for one in found["results"] if one["difference"] and one["stage"] == "eval"]
    assert [(one["figure"], one["a"], one["b"]) for one in changed] == [("sft Recall@10", 0.1832, 0.2)]
    assert not found["equal"]
    lines = [" ".join(line.split()) for line in difference_text(found).splitlines()]
    assert "eval sft Recall@10 0.1832 0.2000 +0.0168 (+9.2%)" in lines
    assert "sft hit rate 0.2000 0.2000 none" in lines
