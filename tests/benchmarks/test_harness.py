"""Rows register, contenders run in turn, goals are judged on medians, and wrong results void a row."""

import sys

import pytest

from tests.benchmarks import environment
from tests.benchmarks.harness import (
    REGISTRY,
    Figure,
    Line,
    Registry,
    Void,
    at_least,
    at_most,
    figure,
    in_turn,
    load_rows,
    measured,
    require_equal,
)

OURS, PEER = Figure("ours", (1.0, 9.0, 2.0)), Figure("peer", (6.0,))


@pytest.fixture
def registry():
    return Registry()


def test_a_figure_is_the_median_of_its_repeats():
    assert OURS.median == 2.0


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (at_least(3), 3.0, True),
        (at_least(3.1), 3.0, False),
        (at_most(0.34), 1 / 3, True),
        (at_most(0.33), 1 / 3, False),
        (at_most(2, "s"), 2.0, True),
        (at_most(1.9, "s"), 2.0, False),
    ],
)
def test_times_are_of_the_peer_for_at_least_and_of_ours_for_at_most(goal, value, met):
    line = Line("work", OURS, PEER, goal)
    assert (line.value, line.met) == (pytest.approx(value), met)


def test_a_line_without_goal_tells_its_ratio_and_is_neither_met_nor_missed():
    line = Line("work", OURS, PEER)
    assert (line.value, line.met) == (3.0, None)


def test_a_void_line_is_not_met_whatever_its_figures():
    line = Line("work", OURS, PEER, at_least(1), void="ids differ")
    assert (line.value, line.met) == (None, False)


def test_contenders_run_in_turn():
    order = []
    contenders = {name: lambda name=name: order.append(name) or {"seconds": len(order)} for name in "AB"}
    runs = in_turn(contenders, repeats=2)
    assert order == ["A", "B", "A", "B"]
    assert figure("A", runs["A"]) == Figure("A", (1.0, 3.0))


def test_results_that_differ_void_the_row():
    require_equal("tokens", {"ours": [5], "peer": [5]})
    with pytest.raises(Void, match=r"tokens differ: ours \[5\], peer \[6\]"):
        require_equal("tokens", {"ours": [5], "peer": [6]})


def test_a_row_whose_results_are_wrong_becomes_one_void_line(registry):
    @registry.benchmark("C1", "tokenise")
    def tokenise(bench):
        yield Line("tokenise", OURS, PEER, at_least(1))
        raise Void("ids differ")

    assert measured(registry.rows["C1"], bench=None) == [Line("tokenise", void="ids differ")]


def test_rows_are_chosen_by_name_and_come_by_number(registry):
    for row in ("C14", "C2", "C6"):
        registry.benchmark(row, row)(list)
    assert [one.row for one in registry.chosen([])] == ["C2", "C6", "C14"]
    assert [one.row for one in registry.chosen(["C14", "C2"])] == ["C2", "C14"]
    with pytest.raises(ValueError, match="no such row: C99; there are C2, C6, C14"):
        registry.chosen(["C99"])


def test_two_rows_of_one_name_are_refused(registry):
    registry.benchmark("C1", "one")(list)
    with pytest.raises(ValueError, match="C1 is registered twice: one, other"):
        registry.benchmark("C1", "other")(list)


def test_every_file_of_rows_registers():
    load_rows()
    assert {"C2", "C3", "C4", "C5", "C6", "C13", "C14"} <= set(REGISTRY.rows)


def test_a_script_tells_its_result_in_its_last_line(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, sys; print('loading'); print(json.dumps({'got': json.loads(sys.argv[1])}))"
    )
    assert environment.run_script(sys.executable, script, {"folder": tmp_path}) == {
        "got": {"folder": str(tmp_path)}
    }


def test_a_script_that_fails_voids_the_row_with_its_last_words(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit('no such data')")
    with pytest.raises(Void, match=r"script.py ended with 1: no such data$"):
        environment.run_script(sys.executable, script, {})


def test_what_is_kept_is_made_once_and_a_broken_attempt_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEREC_BENCHMARKS_CACHE", str(tmp_path))
    told = []
    bench = environment.Bench(tell=told.append)
    with pytest.raises(ZeroDivisionError):
        bench.kept("corpus", lambda folder: (folder / "half").write_text("x") / 0)
    assert not (tmp_path / "corpus").exists()
    for _ in range(2):
        made = bench.kept("corpus", lambda folder: (folder / "whole").write_text("x"))
    assert [path.name for path in made.iterdir()] == ["whole"]
    assert told == ["making corpus", "making corpus"]


def test_peers_that_are_not_installed_are_told_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEREC_BENCHMARKS_CACHE", str(tmp_path))
    with pytest.raises(Void, match=r"python -m tests\.benchmarks --set-up"):
        environment.peer_environment().versions()


def test_peers_run_on_the_torch_and_transformers_of_the_project():
    names = dict(one.split("==") for one in environment.requirements() if "==" in one)
    ours = environment.ours_versions()
    assert names == {name: ours[name].split("+")[0] for name in ("torch", "transformers")}


def test_a_second_run_on_the_same_cache_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEREC_BENCHMARKS_CACHE", str(tmp_path))
    with environment.alone(), pytest.raises(Void, match="another run has"), environment.alone():
        pass
    with environment.alone():
        pass
