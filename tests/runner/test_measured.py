"""An evaluation's document is read whatever form it has, and told in one line."""

from __future__ import annotations

import pytest

from runner.measured import Estimate, headline_text, measured, title_of
from tests.runner.measured_document import document


def test_models_figures_and_segments_are_read() -> None:
    found = measured(document())
    assert found is not None
    assert [(row.model, row.is_baseline) for row in found.rows] == [
        ("sft", False),
        ("without SFT", False),
        ("popularity", True),
        ("sasrec", True),
    ]
    assert found.metrics == ("recall@10", "ndcg@10", "coverage@10", "valid_id_rate")
    assert found.rows[2].figures["coverage@10"] == Estimate(0.5)
    assert [(one.name, one.users, len(one.rows)) for one in found.segments] == [
        ("1 to 10", 1200, 4),
        ("11 and more", 34, 4),
    ]
    assert (found.split, found.k, found.counts["asked"]) == ("test", 10, 940)


def test_the_headline_has_the_model_beside_the_best_baseline() -> None:
    found = measured(document())
    assert found is not None
    told = "sft Recall@10 0.1832, NDCG@10 0.1012; best baseline sasrec 0.1791, 0.1093"
    assert headline_text(found) == told
    alone = measured({"table": document()["table"][:2]})
    assert alone is not None
    assert headline_text(alone) == "sft Recall@10 0.1832, NDCG@10 0.1012"
    hostile = measured(document(model="a\x1b[2J"))
    assert hostile is not None
    assert headline_text(hostile).startswith("a\\x1b[2J Recall@10")


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"table": None},
        {"table": "x"},
        {"table": [1, {"is_baseline": True}]},
    ],
)
def test_a_document_without_a_table_is_no_evaluation(damaged: dict[str, object]) -> None:
    assert measured(damaged) is None


def test_what_is_of_another_kind_is_left_out() -> None:
    row = {"model": 7, "is_baseline": "yes", "recall@10": {"value": "x"}, "mrr": {"value": 0.5, "low": []}}
    found = measured(
        {"table": [row], "headline_k": True, "counts": [1], "segments": {"a": 1}, "report": "text"}
    )
    assert found is not None
    assert (found.rows[0].model, found.rows[0].is_baseline) == ("7", False)
    assert found.rows[0].figures == {"mrr": Estimate(0.5)}
    assert (found.k, found.counts, found.segments, found.report) == (10, {}, (), ())
    assert headline_text(found) == "7 "


def test_figures_are_called_as_people_write_them() -> None:
    names = ["recall@5", "ndcg@10", "coverage@20", "mrr", "valid_id_rate", "new_one"]
    assert [title_of(name) for name in names] == [
        *("Recall@5", "NDCG@10", "Coverage@20", "MRR", "valid ids", "new_one")
    ]
