import numpy as np

from onerec.evaluate.baselines.popularity import fit_popularity
from onerec.evaluate.histories import histories_of


def test_scores_are_the_training_events_of_each_item_whoever_is_asked():
    histories = histories_of([("a", [0, 2, 2, 1], 2, 2, 3), ("b", [2, 0, 2], 3, None, None)], num_items=4)
    model = fit_popularity(histories)
    scores = model.scores([np.array([0]), np.array([], dtype=np.int32)])
    assert scores.tolist() == [[2.0, 0.0, 3.0, 0.0]] * 2
    assert model.told == ("popularity: 5 training events counted",)
