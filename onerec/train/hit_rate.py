"""How often the model names the item that answers: hit rate, NDCG and valid-id rate of held-out questions.

The forward pass is that of training: packs of documents, on all ranks together, no cache. Nothing of the
training changes by it. The figures do not depend on the number of ranks: which questions and documents share
a pack does not.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from onerec.data.loading.batch import Kinds, pack_arrays, pack_of
from onerec.data.store.store import StoredSample
from onerec.data.text.render import Renderer
from onerec.distributed import gather_json
from onerec.items.item_map import load_item_map
from onerec.items.trie import Trie
from onerec.train.item_search import ItemSearch
from onerec.train.questions import Question, ask, draw_rows
from onerec.train.step import moved, rounded_up
from onerec.train.validate import reshard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from onerec.config import TrainConfig
    from onerec.data.loading.batch import Pack
    from onerec.distributed import World
    from onerec.train.loss import PackedLanguageModel
    from onerec.vocab import ItemicVocab

QUESTIONS_AT_A_TIME = 32
"""Most questions that one rank searches at one time, so that there is work for several."""


@dataclass(frozen=True)
class HitRate:
    """What a stage is asked, and how its packs are made."""

    questions: list[Question]
    trie: Trie
    vocab: ItemicVocab
    k: int
    """Length of the list in which the answer must be, and width of the search."""
    world: World
    max_length: int
    """Most tokens of a pack."""
    pad_id: int
    pad_to: int | None
    """Tokens that every pack is filled up to; None: as many as it has."""

    def measure(
        self,
        model: PackedLanguageModel,
        *,
        device: torch.device,
        step: int,
        on_pack: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """The row of hit_rate.jsonl after `step` steps; all ranks call it. `on_pack` before each pack."""
        began = time.monotonic()
        model.eval()
        with torch.no_grad():
            mine = [told for search in self._searches() for told in self._run(search, model, device, on_pack)]
        model.train()
        reshard(model)
        told = sorted(tuple(one) for rank in gather_json(mine) for one in rank)
        ranks = [rank for _, rank, _ in told]
        return {
            "step": step,
            "hit_rate": sum(rank > 0 for rank in ranks) / len(ranks),
            "ndcg": math.fsum(1 / math.log2(1 + rank) for rank in ranks if rank) / len(ranks),
            "valid_id_rate": sum(is_valid for _, _, is_valid in told) / len(ranks),
            "questions": len(ranks),
            "k": self.k,
            "seconds": time.monotonic() - began,
            "time": time.time(),
        }

    def blocks(self) -> list[list[int]]:
        """Numbers of the questions that are searched together: what fits into a pack."""
        lengths = [len(question.prompt) for question in self.questions]
        return chunked(lengths, most=self.max_length, count=QUESTIONS_AT_A_TIME)

    def _searches(self) -> Iterator[list[int]]:
        """This rank's blocks; nothing in those turns in which others have one more."""
        blocks = self.blocks()
        for start in range(0, len(blocks), self.world.size):
            number = start + self.world.rank
            yield blocks[number] if number < len(blocks) else []

    def _run(
        self,
        block: list[int],
        model: PackedLanguageModel,
        device: torch.device,
        on_pack: Callable[[], None],
    ) -> list[tuple[int, int, bool]]:
        """Question, rank and validity of each question of a block."""
        questions = [self.questions[number] for number in block]
        search = ItemSearch(questions, trie=self.trie, vocab=self.vocab, width=self.k)
        for _ in range(search.num_turns):
            self._take_turn(search, model, device, on_pack)
        return list(zip(block, search.ranks, search.is_valid, strict=True))

    def _take_turn(
        self,
        search: ItemSearch,
        model: PackedLanguageModel,
        device: torch.device,
        on_pack: Callable[[], None],
    ) -> None:
        """Read the documents of a turn, in as many passes on every rank."""
        documents, looks, ids = search.documents(), search.looks, search.ids
        places = chunked([len(document) for document in documents], most=self.max_length)
        passes = max(gather_json(len(places)))
        log_probs, best = [], []
        for number in range(passes):
            on_pack()
            held = [documents[place] for place in places[number]] if number < len(places) else []
            found = _read(model, self._pack(held), device=device, looks=looks, ids=ids)
            log_probs.append(found[0])
            best.append(found[1])
        if documents:
            search.take(torch.cat(log_probs), torch.cat(best))

    def _pack(self, documents: Sequence[tuple[int, ...]]) -> Pack:
        """Documents in one pack, padded as those of training are."""
        samples = [
            StoredSample(np.array(ids, np.int32), np.empty((0, 2), np.int32), "", 0, "", 0)
            for ids in documents
        ]
        kinds = Kinds(num_sources=1, itemic_ids=range(0))
        return pack_of(pack_arrays(samples, kinds, pack=0, pad_id=self.pad_id, pad_to=self.pad_to))


def open_hit_rate(
    config: TrainConfig, *, world: World, vocab: ItemicVocab, pad_to: int | None
) -> HitRate | None:
    """The questions of a stage; None where it has none. Every rank reads them.

    Raises ConfigError and DataError for a map or rows that do not fit the vocabulary or each other.
    """
    if config.hit_rate_dir is None:
        return None
    assert config.item_map is not None, "the configuration wants both"
    items = load_item_map(Path(config.item_map), layer_n=vocab.layer_n, size_per_layer=vocab.size_per_layer)
    renderer = Renderer(config.model.model_dir, add_think_pattern=config.add_think_pattern)
    drawn = draw_rows(config.hit_rate_dir, most=config.validating.hit_rate_questions, seed=config.seed)
    max_length = config.data.max_length
    return HitRate(
        questions=ask(drawn, renderer=renderer, items=items, vocab=vocab, max_length=max_length),
        trie=Trie.of(items.codes_NL),
        vocab=vocab,
        k=config.validating.hit_rate_beams,
        world=world,
        max_length=max_length,
        pad_id=renderer.pad_id,
        pad_to=pad_to,
    )


def chunked(lengths: Sequence[int], *, most: int, count: int | None = None) -> list[list[int]]:
    """Places in order, in groups of at most `most` tokens and `count` members; one alone may be longer."""
    groups: list[list[int]] = []
    tokens = 0
    for place, length in enumerate(lengths):
        if not groups or tokens + length > most or len(groups[-1]) == count:
            groups.append([])
            tokens = 0
        groups[-1].append(place)
        tokens += length
    return groups


def _read(
    model: PackedLanguageModel, pack: Pack, *, device: torch.device, looks: int, ids: range
) -> tuple[torch.Tensor, torch.Tensor]:
    """What comes after the last `looks` positions of each document, on the CPU; of a filler nothing."""
    ends_N1 = pack.cu_seqlens[1 : pack.samples + 1, None].long()
    at_NS = ends_N1 - torch.arange(looks, 0, -1)
    # a filler has no documents, and reads its first position, so that the head is used on every rank
    at_N = at_NS.flatten() if pack.samples else torch.zeros(1, dtype=torch.int64)
    found = model.predict(
        moved(pack.input_ids_T, device),
        position_ids_T=moved(pack.position_ids_T, device),
        cu_seqlens=moved(pack.cu_seqlens, device),
        max_seqlen=rounded_up(pack.max_seqlen),
        at_N=moved(at_N, device),
        ids=ids,
    )
    log_probs_NK, best_N = (tensor.cpu()[: at_NS.numel()] for tensor in found)
    return log_probs_NK.unflatten(0, at_NS.shape), best_N.view(at_NS.shape)
