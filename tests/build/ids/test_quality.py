import numpy as np
import pytest

from onerec.build.ids import quality as quality_of
from onerec.build.ids.quality import Level, nearest_neighbours, quality
from onerec.build.ids.residual import Coded


def coded(codes, rebuilt, *, errors=(0.5, 0.25), moved=(0, 1), collisions=1):
    return Coded(np.array(codes), (), np.array(rebuilt, dtype=np.float32), errors, moved, collisions)


# two pairs of like directions, and one item between them
VECTORS = np.array([[1, 0], [5, 0.1], [0, 1], [0.1, 2], [1, 1]], dtype=np.float32)
CODES = [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2]]


def rng():
    return np.random.default_rng(0)


def test_nearest_neighbours_are_by_cosine_and_never_the_item_itself():
    assert nearest_neighbours(VECTORS, np.arange(5), count=1).ravel().tolist()[:4] == [1, 0, 3, 2]


def test_the_opposite_is_a_neighbour_where_there_is_no_other():
    apart = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    assert nearest_neighbours(apart, np.arange(2), count=1).tolist() == [[1], [0]]


@pytest.mark.parametrize("chunk", [1, 10, 10**6])
def test_neighbours_do_not_depend_on_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(quality_of, "CHUNK_LIKENESSES", chunk)
    assert nearest_neighbours(VECTORS, np.array([0, 2, 3]), count=1).ravel().tolist() == [1, 3, 2]


def test_figures_are_as_counted_by_hand(monkeypatch):
    monkeypatch.setattr(quality_of, "NEIGHBOURS", 1)
    swapped = VECTORS[[0, 2, 1, 3, 4]]  # items 1 and 2 trade places in what is rebuilt
    found = quality(VECTORS, coded(CODES, swapped), rng=rng())
    bits = -(0.6 * np.log2(0.6) + 0.4 * np.log2(0.4))
    assert found.levels[0] == Level(
        error=0.5,
        codes_used=2,
        entropy_bits=pytest.approx(bits),
        perplexity=pytest.approx(2**bits),
        largest_share=0.6,
        moved=0,
    )
    assert (found.levels[1].codes_used, found.levels[1].moved, found.collisions_before) == (3, 1, 1)
    # item 4 lies between: its nearest is item 3 (cosine 0.742), which has another code
    assert (found.sample, found.neighbours_sharing_first_code) == (5, 0.8)
    assert found.neighbours_sharing_prefix == 0.8
    assert found.neighbours_kept == 0.2  # only item 4 keeps its neighbour


def test_vectors_that_are_rebuilt_exactly_keep_all_neighbours():
    assert quality(VECTORS, coded(CODES, VECTORS), rng=rng()).neighbours_kept == 1.0


def test_of_many_items_a_sample_is_asked_that_the_seed_draws(monkeypatch):
    monkeypatch.setattr(quality_of, "MAX_SAMPLE", 20)
    vectors = rng().standard_normal((100, 3), dtype=np.float32)
    codes = np.arange(200).reshape(100, 2) % 7
    first, again = (quality(vectors, coded(codes, vectors * [1, 1, 0]), rng=rng()) for _ in range(2))
    assert first == again
    assert first.sample == 20
    monkeypatch.setattr(quality_of, "MAX_LIKENESSES", 500)
    assert quality(vectors, coded(codes, vectors), rng=rng()).sample == 5


def test_one_item_has_no_neighbours():
    found = quality(VECTORS[:1], coded([[0, 0]], VECTORS[:1], collisions=0), rng=rng())
    assert (found.sample, found.neighbours_kept) == (0, 0.0)
    assert len(found.lines(4)) == 3


def test_lines_tell_every_figure():
    lines = quality(VECTORS, coded(CODES, VECTORS), rng=rng()).lines(4)
    assert lines[0] == (
        "level 1: 2 of 4 codes used, entropy 0.97 bits (as 2 equal codes), 50.0% of the vectors' power left, "
        "0 items moved"
    )
    assert lines[2] == "1 colliding items moved to the nearest free code; no two items share an id"
    assert lines[3].startswith("these are more than 10% of all items, which then have ids that say less")
    assert lines[4].endswith("and 100.0% are kept by the codes")


def test_a_few_collisions_need_no_advice():
    lines = quality(VECTORS, coded(CODES, VECTORS, collisions=0), rng=rng()).lines(4)
    assert not any("more than 10%" in line for line in lines)
