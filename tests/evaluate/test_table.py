from onerec.evaluate.table import headline, report_lines


def estimate(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def row(model, value, *, is_baseline=False, **more):
    names = ("recall@10", "ndcg@10", "mrr", "coverage@10")
    return {
        "model": model,
        "is_baseline": is_baseline,
        **{name: estimate(value) for name in names},
        **more,
    }


DOCUMENT = {
    "split": "test",
    "headline_k": 10,
    "settings": {"num_beams": 32, "exclude_history": True},
    "counts": {
        "users": 1200,
        "asked": 1000,
        "left_out_by_max_users": 150,
        "without_held_out_event": 50,
        "targets_met_before": 7,
        "items": 3400,
    },
    "table": [
        row("ours", 0.25, valid_id_rate=estimate(0.5, 0.4, 0.6)),
        row("popularity", 0.125, is_baseline=True),
        row("item_knn", 0.2, is_baseline=True),
    ],
    "differences": {
        "popularity": {"recall@10": estimate(0.125, 0.1, 0.2), "ndcg@10": estimate(0.125)},
        "item_knn": {"recall@10": estimate(0.05, -0.01, 0.2), "ndcg@10": estimate(-0.05, -0.1, -0.01)},
    },
    "tasks": {
        "ours": {
            "valid_id_rate": estimate(0.5),
            "valid_beam_rate": estimate(0.375),
            "interactive": {"questions": 8, "recall@10": estimate(0.5), "ndcg@10": estimate(0.25)},
            "label_prediction": {"questions": 1100, "positive": 600, "auc": estimate(None)},
            "item_description": {"questions": 9, "rouge_l": estimate(0.5), "chrf": estimate(0.25)},
        }
    },
    "baselines": {"popularity": [], "item_knn": ["item_knn: 64 neighbours"]},
}

REPORT = """\
1,000 of 1,200 users asked for their test item among 3,400; 50 have nothing held out, 150 left out by \
max_users; 95 % intervals by bootstrap over users
model                  recall@10  ndcg@10  mrr     coverage@10  valid ids
ours                   0.2500     0.2500   0.2500  0.2500       0.5000 [0.4000, 0.6000]
popularity (baseline)  0.1250     0.1250   0.1250  0.1250       -
item_knn (baseline)    0.2000     0.2000   0.2000  0.2000       -
mrr counts the first 32 items; other targets count 0
7 users turned to an item of their history, which exclude_history hides from all models
first model minus popularity: recall@10 +0.1250, ndcg@10 +0.1250
first model minus item_knn: recall@10 +0.0500 (may be chance), ndcg@10 -0.0500
ours: without constraint, 50.0% of first answers and 37.5% of all beams are valid ids
ours: interactive: recall@10 0.5000, ndcg@10 0.2500 on 8 questions
ours: label prediction: AUC - on 1,100 questions, 600 positive
ours: item description: ROUGE-L 0.5000, chrF 0.2500 on 9 items
item_knn: 64 neighbours"""


def test_the_report_of_an_evaluation_is_this():
    assert "\n".join(report_lines(DOCUMENT)) == REPORT


def test_targets_of_the_past_are_no_matter_where_they_may_be_named():
    document = {**DOCUMENT, "settings": {"num_beams": 32, "exclude_history": False}}
    assert "exclude_history" not in "\n".join(report_lines(document))


def test_a_model_stands_beside_the_best_baseline_in_one_line():
    assert headline(DOCUMENT) == "ours recall@10 0.2500 ndcg@10 0.2500, item_knn 0.2000 0.2000"
    assert headline({**DOCUMENT, "table": DOCUMENT["table"][:1]}) == "ours recall@10 0.2500 ndcg@10 0.2500"
