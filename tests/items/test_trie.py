import itertools
import random

import numpy as np
import pytest
import torch

from onerec.errors import DataError
from onerec.items import beam
from onerec.items.trie import Trie

CODES = np.array([[1, 0, 2], [0, 1, 1], [1, 0, 0], [2, 2, 2], [0, 0, 1]], dtype=np.int32)


def random_codes(count, *, size, levels, seed):
    every = list(itertools.product(range(size), repeat=levels))
    return np.array(random.Random(seed).sample(every, k=count), dtype=np.int32)


def exhaustive(codes_NL, log_probs, excluded, width):
    """Items by their whole score; `log_probs[prefix]` is a row of log-probabilities of the next code."""
    scores = {
        item: sum(float(log_probs[tuple(codes[:level])][codes[level]]) for level in range(len(codes)))
        for item, codes in enumerate(codes_NL.tolist())
        if item not in excluded
    }
    return sorted(scores, key=lambda item: (-scores[item], tuple(codes_NL[item])))[:width], scores


def search(trie, codes_NL, log_probs, excluded, width, size):
    remaining = trie.remaining([excluded])
    beams, prefixes = beam.root(1), [()]
    for level in range(codes_NL.shape[1]):
        rows = torch.stack([log_probs.get(prefix, torch.zeros(size)) for prefix in prefixes])[None]
        beams = beam.step(beams, rows, trie=trie, level=level, width=width, remaining_BM=remaining[level])
        parents, codes = beams.parents_BW[0].tolist(), beams.codes_BW[0].tolist()
        prefixes = [(*prefixes[parent], code) for parent, code in zip(parents, codes, strict=True)]
    there = beams.scores_BW[0].isfinite()
    return trie.item_of_leaf_N[beams.nodes_BW[0][there]].tolist(), beams.scores_BW[0][there].tolist()


def test_the_nodes_of_a_small_trie_are_those_counted_by_hand():
    trie = Trie.of(CODES)
    assert [level.codes_M.tolist() for level in trie.levels] == [[0, 1, 2], [0, 1, 0, 2], [1, 1, 0, 2, 2]]
    assert [level.first_child_M.tolist() for level in trie.levels] == [[0], [0, 2, 3], [0, 1, 2, 4]]
    assert [level.num_children_M.tolist() for level in trie.levels] == [[3], [2, 1, 1], [1, 1, 2, 1]]
    assert [level.leaves_M.tolist() for level in trie.levels] == [[2, 2, 1], [1, 1, 2, 1], [1, 1, 1, 1, 1]]
    assert trie.item_of_leaf_N.tolist() == [4, 1, 2, 0, 3]
    assert len(trie) == 5


def test_every_prefix_of_every_item_is_a_node_and_no_other():
    codes_NL = random_codes(200, size=8, levels=3, seed=1)
    trie = Trie.of(codes_NL)
    for length in (1, 2, 3):
        known = {tuple(row[:length]) for row in codes_NL.tolist()}
        nodes = {}
        for prefix in itertools.product(range(8), repeat=length):
            if prefix in known:
                nodes[prefix] = trie.node_of(prefix)
            else:
                with pytest.raises(DataError, match="begins the id of no item"):
                    trie.node_of(prefix)
        assert sorted(nodes.values()) == list(range(len(known)))


def test_an_unknown_prefix_tells_how_far_it_is_known():
    with pytest.raises(DataError, match=r"<s_a_1><s_b_3> .* after 1 of its codes no item goes on with 3"):
        Trie.of(CODES).node_of((1, 3))
    with pytest.raises(DataError, match="after 3 of its codes"):
        Trie.of(CODES).node_of((1, 0, 2, 2))


def test_what_is_left_below_each_node_is_counted_for_each_user():
    left = Trie.of(CODES).remaining([[0, 2, 2], [], [3, 1]])
    assert left[0].tolist() == [[2, 0, 1], [2, 2, 1], [1, 2, 0]]
    assert left[1].tolist() == [[1, 1, 0, 1], [1, 1, 2, 1], [1, 0, 2, 0]]
    assert left[2].tolist() == [[1, 1, 0, 0, 1], [1, 1, 1, 1, 1], [1, 0, 1, 1, 0]]


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_search_as_wide_as_the_catalogue_finds_all_items_in_order(levels, seed):
    size = {1: 60, 2: 10, 3: 6, 4: 4}[levels]
    codes_NL = random_codes(50, size=size, levels=levels, seed=seed)
    torch.manual_seed(seed)
    log_probs = {
        prefix: torch.randn(size).log_softmax(0)
        for length in range(levels)
        for prefix in itertools.product(range(size), repeat=length)
    }
    excluded = random.Random(seed).sample(range(50), k=7)
    items, scores = search(Trie.of(codes_NL), codes_NL, log_probs, excluded, 50, size)
    expected, of_item = exhaustive(codes_NL, log_probs, set(excluded), 50)
    assert items == expected
    assert scores == pytest.approx([of_item[item] for item in expected], abs=1e-5)


def test_equal_scores_stand_in_the_order_of_their_ids():
    codes_NL = random_codes(40, size=5, levels=3, seed=3)
    items, _ = search(Trie.of(codes_NL), codes_NL, {}, [], 40, 5)
    assert items == np.lexsort(codes_NL.T[::-1]).tolist()


def test_a_list_is_full_although_most_of_the_best_branch_is_excluded():
    codes_NL = np.array([[0, code] for code in range(20)] + [[1, 0], [1, 1]], dtype=np.int32)
    log_probs = {(): torch.tensor([-0.1, -5.0] + [-9.0] * 18)}
    items, _ = search(Trie.of(codes_NL), codes_NL, log_probs, list(range(19)), 3, 20)
    assert items == [19, 20, 21]


def test_users_with_fewer_children_have_beams_that_are_not_there():
    trie = Trie.of(CODES)
    first = beam.step(beam.root(2), torch.zeros(2, 1, 3), trie=trie, level=0, width=1)
    assert first.scores_BW.tolist() == [[0.0], [0.0]]
    beams = beam.Beams(torch.tensor([[0], [2]]), torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, 1))
    second = beam.step(beams, torch.zeros(2, 1, 3), trie=trie, level=1, width=4)
    assert second.scores_BW.tolist() == [[0.0, 0.0], [0.0, -torch.inf]]
    assert second.codes_BW[0].tolist() == [0, 1]
    assert int(second.codes_BW[1, 0]) == 2
