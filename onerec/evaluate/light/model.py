"""A small model folder that is asked for items one user at a time, in numpy.

Answers as the search in the trie does. A folder that cannot be asked in this way is left to that.

Shapes: N items that are left, L levels, W beams, K codes of a level, D width of the model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onerec.data.source.validate import Row
from onerec.data.text.render import Renderer
from onerec.errors import DataError
from onerec.evaluate.light.beams import Beams
from onerec.evaluate.light.qwen3 import Branches, Shape
from onerec.evaluate.light.tokenizer import LightTokenizer
from onerec.evaluate.light.weights import Floats, read_weights
from onerec.evaluate.prompts import NO_NUMBERS, Answer, prompts_of
from onerec.items.item_map import ItemMap, check_fit
from onerec.model.hf_folder import CONFIG_NAME, read_itemic_vocab, read_json, weight_files
from onerec.vocab import ItemicVocab

MOST_BYTES = 64 << 20
"""Weights up to this size are read and multiplied in less time than it takes to load torch."""


@dataclass(frozen=True)
class LightModel:
    """A model ready to be asked."""

    shape: Shape
    weights: Mapping[str, Floats]
    renderer: Renderer
    vocab: ItemicVocab
    items: ItemMap

    @classmethod
    def load(cls, folder: Path, items: ItemMap, *, add_think_pattern: bool) -> LightModel | None:
        """None for a folder that is too large, or not plain enough; raises ConfigError and DataError."""
        vocab = read_itemic_vocab(folder)
        check_fit(items, vocab, whose=str(folder))
        shape, files = Shape.of(read_json(folder / CONFIG_NAME)), weight_files(folder)
        if shape is None or sum(path.stat().st_size for path in files) > MOST_BYTES:
            return None
        tokenizer = LightTokenizer.load(folder)
        if tokenizer is None:
            return None
        renderer = Renderer(folder, add_think_pattern=add_think_pattern, tokenizer=tokenizer)
        return cls(shape, read_weights(files), renderer, vocab, items)

    def ask(
        self, rows: Sequence[Row], excluded: Sequence[Sequence[int]] | None, *, width: int
    ) -> list[Answer]:
        """The best `width` items of each row's question; `excluded` are never named."""
        prompts = prompts_of(rows, renderer=self.renderer, vocab=self.vocab)
        return [
            self._search(prompt, width=width, excluded=excluded[place] if excluded is not None else ())
            for place, prompt in enumerate(prompts)
        ]

    def _search(self, prompt: Sequence[int], *, width: int, excluded: Sequence[int]) -> Answer:
        left_N = np.setdiff1d(np.arange(len(self.items)), np.array(excluded, dtype=np.int64))
        if not len(left_N):
            return Answer([], [])
        left_N = left_N[np.lexsort(self.items.codes_NL[left_N].T[::-1])]
        codes_NL = self.items.codes_NL[left_N].astype(np.int64)
        tree = Branches(self.shape, self.weights, prompt)
        hidden_WD, beams = tree.hidden_1D, Beams.root(len(left_N))
        for level in range(self.vocab.layer_n):
            first = self.vocab.id_of(level, 0)
            if level:
                hidden_WD = tree.grow(self.vocab.id_of(level - 1, 0) + beams.codes_W, beams.parents_W)
            log_probs_WK = tree.log_probs(hidden_WD)[:, first : first + self.vocab.size_per_layer]
            beams = beams.step(codes_NL[:, level], log_probs_WK, width=width)
        if np.isnan(beams.scores_W).any():
            raise DataError(NO_NUMBERS)
        return Answer(left_N[beams.nodes_W].tolist(), beams.scores_W.tolist())
