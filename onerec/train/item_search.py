"""The items that a model names in answer to some questions, found by documents in packs, a code at a time.

There is no cache: each turn asks what comes after some documents, and whoever runs the model answers. A
question whose answer has fallen out of the search is not asked any further, for its rank is known to be 0.

Shapes: B questions that are still searched, W beams, K codes of a level, N documents, S of their last
positions, L codes so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from onerec.errors import DataError
from onerec.items import beam

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onerec.items.trie import Trie
    from onerec.train.questions import Question
    from onerec.vocab import ItemicVocab

Codes = tuple[int, ...]


class ItemSearch:
    """A beam search in the trie of valid ids, and beside it the likeliest answer of all, token by token.

    It takes `num_turns` turns, each of which reads `documents` and then `take`s what comes after them.
    """

    def __init__(self, questions: Sequence[Question], *, trie: Trie, vocab: ItemicVocab, width: int) -> None:
        self._questions, self._trie, self._vocab, self._width = questions, trie, vocab, width
        self.ranks = [0] * len(questions)
        """Place of each answer among the best `width` items, from 1; 0 where it is not among them."""
        self.is_valid = [False] * len(questions)
        """Whether the likeliest answer, said freely, is an item: begin, its codes, end."""
        self._level = 0
        self._left = list(range(len(questions)))
        """Questions whose answer is still among the beams."""
        self._beams = beam.root(len(questions))
        self._codes_BWL = torch.zeros(len(questions), 1, 0, dtype=torch.int64)
        self._said: dict[int, Codes] = dict.fromkeys(self._left, ())
        """What each question's likeliest answer says so far, of those that may still become an item."""
        self._place_of: dict[tuple[int, Codes], int] = {}

    @property
    def num_turns(self) -> int:
        """One for each code, and one for the end of the item."""
        return self._vocab.layer_n + 1

    @property
    def ids(self) -> range:
        """Tokens whose log-probabilities this turn wants to know."""
        if self._level == self._vocab.layer_n:
            return range(0)
        first = self._vocab.id_of(self._level, 0)
        return range(first, first + self._vocab.size_per_layer)

    @property
    def looks(self) -> int:
        """How many of the last positions of each document are read: the first turn also reads the begin."""
        return 2 if self._level == 0 else 1

    def documents(self) -> list[Codes]:
        """Token ids of the prompts with what is said after them; each once."""
        wanted = [
            (question, codes) for question, beams in self._spoken() for codes in beams if codes is not None
        ]
        self._place_of = {
            one: place for place, one in enumerate(dict.fromkeys([*wanted, *self._said.items()]))
        }
        return [
            (*self._questions[question].prompt, *self._ids_of(codes)) for question, codes in self._place_of
        ]

    def take(self, log_probs_NSK: torch.Tensor, best_NS: torch.Tensor) -> None:
        """Go on with what comes after the last positions of the documents; tensors are on the CPU."""
        if self._level < self._vocab.layer_n:
            self._search(log_probs_NSK[:, -1])
        self._listen(best_NS.tolist())
        self._level += 1

    def _spoken(self) -> list[tuple[int, list[Codes | None]]]:
        """Each question that is searched, with the codes of its beams; None for a beam that is not there."""
        if self._level == self._vocab.layer_n:
            return []
        are_there = self._beams.scores_BW.isfinite().tolist()
        return [
            (question, [tuple(one) if is_there else None for one, is_there in zip(codes, there, strict=True)])
            for question, codes, there in zip(self._left, self._codes_BWL.tolist(), are_there, strict=True)
        ]

    def _search(self, log_probs_NK: torch.Tensor) -> None:
        """One step of the beams; questions whose answer falls out are dropped, and at the end all are."""
        if not self._left:
            return
        place_BW = torch.tensor(
            [
                [0 if codes is None else self._place_of[question, codes] for codes in beams]
                for question, beams in self._spoken()
            ]
        )
        found = beam.step(
            self._beams, log_probs_NK[place_BW], trie=self._trie, level=self._level, width=self._width
        )
        self._keep(found, codes_BWL=self._grown(found))

    def _grown(self, found: beam.Beams) -> torch.Tensor:
        """The codes of the new beams: those of the beam before, and the newest."""
        parents_BWL = found.parents_BW[..., None].expand(-1, -1, self._codes_BWL.shape[-1])
        return torch.cat([self._codes_BWL.gather(1, parents_BWL), found.codes_BW[..., None]], dim=-1)

    def _keep(self, found: beam.Beams, *, codes_BWL: torch.Tensor) -> None:
        """Go on with the questions whose answer is among the beams; with the last code its place is told."""
        targets_B = torch.tensor([self._questions[question].target for question in self._left])
        node_B = self._trie.levels[self._level].node_of_item_N[targets_B]
        is_target_BW = (found.nodes_BW == node_B[:, None]) & found.scores_BW.isfinite()
        stays_B = is_target_BW.any(dim=1)
        self._left = [one for one, stays in zip(self._left, stays_B.tolist(), strict=True) if stays]
        if self._level == self._vocab.layer_n - 1:
            for question, place in zip(
                self._left, is_target_BW[stays_B].int().argmax(dim=1).tolist(), strict=True
            ):
                self.ranks[question] = place + 1
        self._codes_BWL = codes_BWL[stays_B]
        self._beams = beam.Beams(*(tensor[stays_B] for tensor in vars(found).values()))

    def _listen(self, best: list[list[int]]) -> None:
        """What the likeliest answers say next; those that can become no item any more are dropped."""
        for question, codes in list(self._said.items()):
            *before, token = best[self._place_of[question, codes]]
            del self._said[question]
            if before and before != [self._vocab.begin_id]:
                continue
            if self._level == self._vocab.layer_n:
                self.is_valid[question] = token == self._vocab.last_id
            elif token in self.ids:
                said = (*codes, token - self.ids.start)
                if self._begins_an_item(said):
                    self._said[question] = said

    def _begins_an_item(self, codes: Codes) -> bool:
        try:
            self._trie.node_of(codes)
        except DataError:
            return False
        return True

    def _ids_of(self, codes: Codes) -> list[int]:
        return [self._vocab.id_of(level, code) for level, code in enumerate(codes)]
