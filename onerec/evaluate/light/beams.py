"""One step of the search for one user's best items, in numpy: prefixes of ids that are one code longer.

Items stand in the order of their ids, so the items below a prefix lie side by side. Pure.

Shapes: N items, W beams, K codes of the level, P nodes of the level before, M of this one, C children.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onerec.evaluate.light.qwen3 import Ints
from onerec.evaluate.light.weights import Floats


@dataclass(frozen=True)
class Beams:
    """The best prefixes, best first, equal ones in the order of ids."""

    node_of_N: Ints
    """Number of the prefix, of as many codes, that each item begins with."""
    nodes_W: Ints
    scores_W: Floats
    parents_W: Ints
    """The beam before the step that each one goes on from."""
    codes_W: Ints
    """The newest code of each."""

    @classmethod
    def root(cls, num_items: int) -> Beams:
        """The empty prefix, with which all items begin."""
        zeros_1 = np.zeros(1, dtype=np.int64)
        zeros_N = np.zeros(num_items, dtype=np.int64)
        return cls(zeros_N, zeros_1, np.zeros(1, dtype=np.float32), zeros_1, zeros_1)

    def step(self, codes_N: Ints, log_probs_WK: Floats, *, width: int) -> Beams:
        """The best `width` prefixes with one more code; codes_N are the items' codes of that level."""
        is_first_N = (np.diff(self.node_of_N, prepend=-1) != 0) | (np.diff(codes_N, prepend=-1) != 0)
        first_M = np.flatnonzero(is_first_N)
        beam_of_P = np.full(self.node_of_N[-1] + 1, -1)
        beam_of_P[self.nodes_W] = np.arange(len(self.nodes_W))
        beam_M = beam_of_P[self.node_of_N[first_M]]
        node_C = np.flatnonzero(beam_M >= 0)
        beam_C, code_C = beam_M[node_C], codes_N[first_M[node_C]]
        score_C = self.scores_W[beam_C] + log_probs_WK[beam_C, code_C]
        best_W = np.argsort(-score_C, kind="stable")[:width]
        return Beams(
            np.cumsum(is_first_N) - 1, node_C[best_W], score_C[best_W], beam_C[best_W], code_C[best_W]
        )
