import numpy as np
import pytest
import torch

from onerec.evaluate.baselines import sasrec
from onerec.evaluate.baselines.sasrec import SASRecSettings, fit_sasrec
from onerec.evaluate.histories import histories_of
from tests.evaluate.baselines.worlds import circle

SMALL = SASRecSettings(width=16, dropout=0.0, learning_rate=1e-2, window=3, max_epochs=30, patience=30)


def learned(model, histories):
    return (model.scores(histories.before("test")).argmax(1) == histories.targets("test")).mean()


def test_a_circle_is_learned():
    histories = circle()
    model = fit_sasrec(histories, seed=1, settings=SMALL, exclude_history=False)
    assert learned(model, histories) == 1.0
    assert "the most epochs (30) were reached" in model.told[0]


def test_sampled_items_stand_for_a_large_catalogue(monkeypatch):
    monkeypatch.setattr(sasrec, "FULL_SOFTMAX_ITEMS", 7)
    monkeypatch.setattr(sasrec, "SAMPLED_ITEMS", 4)
    histories = circle()
    assert learned(fit_sasrec(histories, seed=1, settings=SMALL, exclude_history=False), histories) == 1.0


def test_sampled_loss_estimates_the_whole(monkeypatch):
    torch.manual_seed(0)
    hidden_TD, items_ND, targets_T = torch.randn(5, 4), torch.randn(3000, 4) * 0.3, torch.arange(5)
    whole = sasrec._loss(hidden_TD, items_ND, targets_T)
    monkeypatch.setattr(sasrec, "FULL_SOFTMAX_ITEMS", 10)
    monkeypatch.setattr(sasrec, "SAMPLED_ITEMS", 2000)
    assert float(sasrec._loss(hidden_TD, items_ND, targets_T)) == pytest.approx(float(whole), abs=0.02)


def test_training_ends_when_nothing_gets_better_and_the_best_is_kept():
    histories = circle()
    settings = SASRecSettings(width=8, window=3, max_epochs=50, patience=2, learning_rate=1e-9)
    model = fit_sasrec(histories, seed=1, settings=settings)
    assert "best after epoch 1 " in model.told[0]
    assert "2 epochs were no better" in model.told[0]


def test_the_time_cap_is_told_when_it_bites():
    model = fit_sasrec(circle(), seed=1, settings=SMALL, time_cap_seconds=0.0)
    assert "the time cap of 0 s ended training" in model.told[0]


def test_scores_of_a_history_do_not_depend_on_what_else_is_asked():
    model = fit_sasrec(circle(), seed=1, settings=SASRecSettings(width=8, window=3, max_epochs=1))
    asked = [np.array([1, 2, 3, 4]), np.array([5]), np.array([2, 3, 4]), np.array([], dtype=np.int32)]
    together = model.scores(asked)
    alone = np.concatenate([model.scores([history]) for history in asked])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert not together[3].any()
    np.testing.assert_allclose(together[0], together[2], atol=1e-6)  # only the window is looked at


def test_every_event_but_the_first_is_a_target_once_wherever_windows_begin():
    histories = histories_of(
        [("a", list(range(10)), 10, None, None), ("b", [3], 1, None, None)], num_items=10
    )
    for seed in range(20):
        windows = sasrec._windows(histories, 4, rng=np.random.default_rng(seed))
        assert [item for window in windows for item in window[1:].tolist()] == list(range(1, 10))
        assert all(2 <= len(window) <= 5 for window in windows)


def test_fitting_leaves_the_generator_of_the_process_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    fit_sasrec(circle(), seed=1, settings=SASRecSettings(width=8, window=3, max_epochs=1))
    assert torch.equal(torch.rand(3), wanted)


def test_a_small_catalogue_gives_the_same_bits_on_any_number_of_threads():
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            found.append(fit_sasrec(circle(), seed=1, settings=SMALL).network.state_dict())
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
