"""The page's tables of an evaluation, and the hit rates of a training stage."""

from __future__ import annotations

import json
from pathlib import Path

from runner.journal import Journal
from runner.page import write_page
from runner.page.charts import Chart, Columns, Series, charts_of, columns_of
from runner.page.evaluation import Cell, evaluations
from runner.page.gather import gather
from runner.page.view import view_of
from runner.rundir import RunDir
from tests.runner.measured_document import document
from tests.runner.page.made import HOSTILE, OWNER
from tests.runner.page.test_render import Page


def make(folder: Path, *, model: str = "sft", state: str = "done") -> RunDir:
    """A run of one training stage with hit rates, and an evaluation."""
    run = RunDir(folder / "small")
    run.path.mkdir(parents=True)
    steps = [
        {"name": name, "kind": kind, "stage": name, "folder": name, "output_dir": name}
        for name, kind in (("sft", "train"), ("eval", "evaluate"))
    ]
    journal = Journal(run.events)
    journal.append(
        "run_started", owner=OWNER, argv=[], environment={}, steps=steps, manifest_dir="/", overrides=[]
    )
    for step, end in (("sft", "done"), ("eval", state)):
        journal.append("step_started", step=step, attempt=1, fingerprint="f", ingredients={}, argv=[])
        journal.append("step_ended", step=step, state=end, exit_code=0, reason=None, seconds=1.0, result={})
    journal.close()
    home = run.stage("sft")
    home.path.mkdir()
    rows = [
        {"step": step, "hit_rate": rate, "ndcg": rate / 2, "valid_id_rate": 0.9, "k": 10}
        for step, rate in ((10, 0.1), (20, 0.3), (30, 0.2))
    ]
    home.hit_rates.write_text("".join(json.dumps(row) + "\n" for row in rows))
    home.best.write_text(json.dumps({"step": 20, "ndcg": 0.15}))
    for step in (20, 30):
        (home.path / f"step{step}").mkdir()
        home.commit_record(step).write_text(json.dumps({"step": step, "bytes": {}}))
    home.latest.write_text("step30")
    run.stage("eval").path.mkdir()
    run.stage("eval").result.write_text(json.dumps(document(model=model)))
    return run


def test_models_stand_in_a_table_with_what_is_best_and_how_sure_it_is(tmp_path: Path) -> None:
    (view,) = evaluations(gather(make(tmp_path)))
    assert view.name == "eval"
    assert view.facts[0] == ("asked for", "each user's test item")
    assert view.models.heads == ("Recall@10", "NDCG@10", "Coverage@10", "valid ids")
    assert [(row.name, row.note) for row in view.models.rows] == [
        ("sft", ""),
        ("without SFT", ""),
        ("popularity", "baseline"),
        ("sasrec", "baseline"),
    ]
    first, last = view.models.rows[0].cells, view.models.rows[3].cells
    assert first[0] == Cell("0.1832", "0.1732 to 0.1932", True, (89.6, 94.8, 100.0))
    assert first[1] == Cell("0.1012", "0.0912 to 0.1112", False, (76.4, 84.8, 93.2))
    assert last[1].is_best
    assert [cell.is_best for cell in (first[2], last[2])] == [True, True]  # equal ones are both the best
    assert (first[3], last[3]) == (Cell("0.9700"), Cell("-"))


def test_parts_of_the_users_stand_by_models(tmp_path: Path) -> None:
    (view,) = evaluations(gather(make(tmp_path)))
    recall, ndcg = view.segments
    assert (recall.title, ndcg.title) == (
        "Recall@10 by history length",
        "NDCG@10 by history length",
    )
    assert recall.heads == ("sft", "without SFT", "popularity", "sasrec")
    assert [(row.name, row.note) for row in recall.rows] == [
        ("1 to 10", "1,200 users"),
        ("11 and more", "34 users"),
    ]
    assert [cell.text for cell in recall.rows[1].cells] == ["0.2748", "0.0750", "0.1050", "0.2686"]
    assert [cell.is_best for cell in ndcg.rows[0].cells] == [False, False, False, True]


def test_an_evaluation_that_is_not_done_has_no_table(tmp_path: Path) -> None:
    assert list(evaluations(gather(make(tmp_path, state="failed")))) == []


def test_hit_rates_stand_beside_the_loss_with_the_best_checkpoint(tmp_path: Path) -> None:
    rows = [{"step": 10, "hit_rate": 0.1, "k": 5}, {"step": 20, "hit_rate": 0.2, "k": 5}]
    training = columns_of([{"step": 20, "loss": 1.0, "mfu": 0.5}])
    charts = charts_of(training, Columns(), hit_rates=columns_of(rows), best_step=20)
    best = ((20.0, "best"),)
    assert charts[:2] == [
        Chart("Loss", "nats per token", (Series("training", ((20.0, 1.0),)),), "", best),
        Chart(
            "Hit rate",
            "share of questions at 5",
            (Series("hit rate", ((10.0, 0.1), (20.0, 0.2)), is_dashed=True),),
            "",
            best,
        ),
    ]
    assert charts[2].marks == ()
    (stage,) = view_of(gather(make(tmp_path)), now=0.0).stages
    assert [row[0] for row in stage.checkpoints if "best" in row[4]] == ["step20"]
    assert ("hit rate", "0.2000") in stage.figures


def test_the_page_shows_it_and_escapes_it(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(make(tmp_path, model=HOSTILE), path)
    page = Page(path.read_text(encoding="utf-8"))
    assert "★ 0.1832" in page.text
    assert "0.1732 to 0.1932" in page.text
    assert "Recall@10 by history length" in page.text
    assert "img" not in page.tags
    assert [script for script in page.scripts if "alert" in script] == []
