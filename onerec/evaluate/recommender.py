"""A model folder that is asked for items: weights, tokenizer, and the trie of the items that it may name.

Questions are rendered as they were in training, up to where the answer's item begins. What the answers are
worth is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import Qwen3ForCausalLM
from transformers.utils import logging

from onerec.data.source.validate import Row
from onerec.data.text.render import Renderer
from onerec.errors import ConfigError
from onerec.evaluate.prompts import Answer, prompts_of
from onerec.evaluate.search import batches, search_freely, search_items
from onerec.items.item_map import ItemMap, check_fit
from onerec.items.trie import Trie
from onerec.model.hf_folder import read_itemic_vocab
from onerec.vocab import ItemicVocab

Device = Literal["auto", "cpu", "cuda"]


def nothing(done: int) -> None:
    """Tell nobody how many questions are answered."""


@dataclass(frozen=True)
class Recommender:
    """A model ready to be asked."""

    lm: Qwen3ForCausalLM
    renderer: Renderer
    vocab: ItemicVocab
    items: ItemMap
    trie: Trie

    @classmethod
    def load(
        cls, folder: Path, items: ItemMap, *, add_think_pattern: bool, device: Device = "auto"
    ) -> Recommender:
        """Open a Hugging Face folder; fp32 on a CPU, the folder's own format on a GPU.

        Raises ConfigError for a folder that is none, has no itemic tokens, or other ones than the items.
        """
        vocab = read_itemic_vocab(folder)
        check_fit(items, vocab, whose=str(folder))
        where = _device(device)
        logging.disable_progress_bar()  # one bar of one shard would only clutter the log
        lm = Qwen3ForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32 if where.type == "cpu" else "auto"
        )
        return cls(
            lm=lm.to(where).eval(),
            renderer=Renderer(folder, add_think_pattern=add_think_pattern),
            vocab=vocab,
            items=items,
            trie=Trie.of(items.codes_NL, device=where),
        )

    def prompts(self, rows: Sequence[Row]) -> list[list[int]]:
        """Each row's tokens up to and including the begin token of its answer; DataError without one."""
        return prompts_of(rows, renderer=self.renderer, vocab=self.vocab)

    def ask(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        width: int,
        excluded: Sequence[Sequence[int]] | None,
        batch_size: int,
        on_done: Callable[[int], None] = nothing,
    ) -> list[Answer]:
        """The best `width` items of each prompt; `on_done` is told how many are answered."""
        answers: dict[int, Answer] = {}
        for places in batches([len(prompt) for prompt in prompts], size=batch_size):
            found = search_items(
                self.lm,
                [prompts[place] for place in places],
                trie=self.trie,
                vocab=self.vocab,
                width=width,
                excluded=None if excluded is None else [excluded[place] for place in places],
            )
            answers.update(zip(places, found, strict=True))
            on_done(len(places))
        return [answers[place] for place in range(len(prompts))]

    def ask_freely(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        width: int,
        batch_size: int,
        on_done: Callable[[int], None] = nothing,
    ) -> list[list[bool]]:
        """Whether each beam of a search that may say anything is a valid item; prompts as for `ask`.

        The begin token is taken off the prompts: to say it is part of the answer.
        """
        valid: dict[int, list[bool]] = {}
        known = {tuple(self.vocab.ids_of_item(tuple(codes))) for codes in self.items.codes_NL.tolist()}
        for places in batches([len(prompt) for prompt in prompts], size=batch_size):
            said = search_freely(
                self.lm,
                [prompts[place][:-1] for place in places],
                width=width,
                num_tokens=self.vocab.layer_n + 2,
            )
            valid.update(
                (place, [answer in known for answer in user])
                for place, user in zip(places, said, strict=True)
            )
            on_done(len(places))
        return [valid[place] for place in range(len(prompts))]


def _device(wanted: Device) -> torch.device:
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ConfigError("device cuda, but torch sees no GPU; give cpu, or look at nvidia-smi")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")
