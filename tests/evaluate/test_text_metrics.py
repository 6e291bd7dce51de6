import pytest

from onerec.evaluate.text_metrics import chrf, rouge_l


@pytest.mark.parametrize(
    ("said", "wanted", "score"),
    [
        ("the cat sat", "The cat sat.", 1.0),
        ("police kill the gunman", "police killed the gunman", 0.75),  # of Lin 2004: 3 of 4 words in order
        ("the gunman kill police", "police killed the gunman", 0.5),
        ("a b c d", "a b", 2 * 0.5 * 1.0 / 1.5),
        ("一部电影", "一部好电影", 2 * 1.0 * 0.8 / 1.8),
        ("", "word", 0.0),
        ("word", "", 0.0),
        ("other", "word", 0.0),
    ],
)
def test_rouge_l_is_that_counted_by_hand(said, wanted, score):
    assert rouge_l(said, wanted) == pytest.approx(score)


def test_chrf_is_that_counted_by_hand():
    assert chrf("abc", "abc") == pytest.approx(1.0)
    assert chrf("", "abc") == 0.0
    assert chrf("", "") == 0.0
    # of "ab" in "abc": 1-grams P 1, R 2/3; 2-grams P 1, R 1/2; 3-grams 0
    f = [5 * r / (4 + r) for r in (2 / 3, 1 / 2)]
    assert chrf("ab", "abc") == pytest.approx((sum(f) + 0) / 3)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            "Toy Story (1995). Genres: Animation, Comedy.",
            "Toy Story (1995). Genres: Animation, Children's, Comedy.",
        ),
        ("a completely different sentence", "nothing here is the same as there"),
        ("玩具总动员是一部动画电影", "玩具总动员是一部喜剧动画电影"),
    ],
)
def test_chrf_is_that_of_torchmetrics(said, wanted):
    text = pytest.importorskip("torchmetrics.functional.text")
    expected = float(text.chrf_score([said], [[wanted]], n_word_order=0))
    assert chrf(said, wanted) == pytest.approx(expected, abs=1e-3)
