"""The trie of valid ids: which codes may follow a prefix, as arrays that a search walks in whole batches.

Nodes of a level stand in the order of their prefixes, so the children of a node lie side by side; a leaf is
an item. The space is that of the items, however many codes a level has.

Shapes: N items, L levels, B users, W beams, M nodes of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from onerec.errors import DataError
from onerec.items.item_map import Int32
from onerec.vocab import level_token

ROOT = 0


@dataclass(frozen=True)
class Level:
    """The nodes that are reached with one more code, and how they hang on the level before."""

    first_child_M: torch.Tensor
    """For each node of the level before: its first child here."""
    num_children_M: torch.Tensor
    codes_M: torch.Tensor
    """Code that leads to each node of this level."""
    leaves_M: torch.Tensor
    """Items below each node of this level."""
    node_of_item_N: torch.Tensor
    """The node of this level that each item lies below."""


@dataclass(frozen=True)
class Trie:
    """All valid ids; nodes of level 0 are those after the first code, the root is node 0 before it."""

    levels: tuple[Level, ...]
    item_of_leaf_N: torch.Tensor
    """Item number of each node of the last level."""

    @classmethod
    def of(cls, codes_NL: Int32, *, device: torch.device | str = "cpu") -> Trie:
        """The trie of the ids of all items, no two alike."""
        order_N = np.lexsort(codes_NL.T[::-1])
        ordered_NL = codes_NL[order_N]
        levels = []
        parent_N = np.zeros(len(codes_NL), dtype=np.int64)
        for level in range(codes_NL.shape[1]):
            changes_N = (np.diff(parent_N, prepend=-1) != 0) | (
                np.diff(ordered_NL[:, level], prepend=-1) != 0
            )
            node_N = np.cumsum(changes_N) - 1
            first_M = np.flatnonzero(changes_N)
            children_M = np.bincount(parent_N[first_M])
            node_of_item_N = np.empty(len(node_N), dtype=np.int64)
            node_of_item_N[order_N] = node_N
            arrays = (
                np.cumsum(children_M) - children_M,
                children_M,
                ordered_NL[first_M, level].astype(np.int64),
                np.bincount(node_N),
                node_of_item_N,
            )
            levels.append(Level(*(torch.from_numpy(array).to(device) for array in arrays)))
            parent_N = node_N
        return cls(tuple(levels), torch.from_numpy(order_N).to(device))

    def __len__(self) -> int:
        """Number of items."""
        return len(self.item_of_leaf_N)

    def node_of(self, codes: Sequence[int]) -> int:
        """The node after these codes; raises DataError for a prefix that no item has."""
        node = ROOT
        for place, code in enumerate(codes):
            children = self._children(place, node)
            known = self.levels[place].codes_M[children] if place < len(self.levels) else torch.empty(0)
            found = (known == code).nonzero()
            if not len(found):
                told = "".join(level_token(level, code) for level, code in enumerate(codes))
                raise DataError(
                    f"{told} begins the id of no item: after {place} of its codes no item goes on with {code}"
                )
            node = children.start + int(found[0, 0])
        return node

    def remaining(self, excluded: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Items that are left below each node, level by level, (B, M), when each user excludes some."""
        users = [user for user, items in enumerate(excluded) for _ in set(items)]
        items = [item for own in excluded for item in sorted(set(own))]
        device = self.item_of_leaf_N.device
        users_E, items_E = (
            torch.tensor(values, dtype=torch.int64, device=device) for values in (users, items)
        )
        left = []
        for level in self.levels:
            left_BM = level.leaves_M.int().repeat(len(excluded), 1)  # wide: half of what int64 takes
            left_BM.index_put_(
                (users_E, level.node_of_item_N[items_E]),
                torch.tensor(-1, dtype=torch.int32, device=device),
                accumulate=True,
            )
            left.append(left_BM)
        return left

    def _children(self, level: int, node: int) -> slice:
        if level >= len(self.levels):
            return slice(0, 0)
        first = int(self.levels[level].first_child_M[node])
        return slice(first, first + int(self.levels[level].num_children_M[node]))
