"""Logits of a Qwen3 on a fixed prompt, layer by layer, in the memory of one layer and some table rows.

With transformers' own modules, in fp32 whatever the weights' format, so that equal weights and settings give
equal bits. T tokens, D columns, V rows of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer, Qwen3RMSNorm, Qwen3RotaryEmbedding

from onerec.export.source import TABLES
from onerec.model.hf_folder import EMBEDDING, HEAD

if TYPE_CHECKING:
    from transformers import Qwen3Config

    from onerec.export.source import Weights

PROMPT_TOKENS = 16
ROWS_AT_A_TIME = 4096
"""Rows of the head that are multiplied together."""
Visit = Callable[[str, Iterator[torch.Tensor]], None]
"""Is given every tensor in pieces, and has to take them all."""


def prompt_of(config: Qwen3Config) -> list[int]:
    """Ids spread evenly over the table: text, itemic tokens and its last row are among them."""
    return [int(number) for number in torch.linspace(0, config.vocab_size - 1, PROMPT_TOKENS)]


@torch.no_grad()
def walk(weights: Weights, *, config: Qwen3Config, visit: Visit) -> torch.Tensor:
    """Every tensor once, `in_order`, given to `visit`; returns the logits of the prompt, TV in fp32."""
    config._attn_implementation = "sdpa"  # noqa: SLF001 - no public setter
    ids = prompt_of(config)
    hidden_TD = weights.rows(EMBEDDING, ids).float()
    positions_T = torch.arange(len(ids))[None]
    rotary = Qwen3RotaryEmbedding(config=config)
    embeddings = rotary(hidden_TD[None], positions_T)
    memory: dict[str, torch.Tensor] = {}  # one layer's, which the next takes over
    for number in range(config.num_hidden_layers):
        layer = _filled(
            Qwen3DecoderLayer,
            config,
            number,
            weights=weights,
            prefix=f"model.layers.{number}.",
            visit=visit,
            memory=memory,
        )
        told = layer(
            hidden_TD[None], attention_mask=None, position_ids=positions_T, position_embeddings=embeddings
        )
        hidden_TD = (told[0] if isinstance(told, tuple) else told)[0]
    norm = _filled(
        Qwen3RMSNorm,
        config.hidden_size,
        config.rms_norm_eps,
        weights=weights,
        prefix="model.norm.",
        visit=visit,
        memory={},
    )
    return _project(norm(hidden_TD), weights, is_tied=config.tie_word_embeddings, visit=visit)


def _filled(
    kind: type[nn.Module],
    *arguments: object,
    weights: Weights,
    prefix: str,
    visit: Visit,
    memory: dict[str, torch.Tensor],
) -> nn.Module:
    """A module with its weights in fp32, in memory by their names; each is visited as it is stored."""
    with torch.device("meta"):
        module = kind(*arguments)
    state = {}
    for name, parameter in sorted(module.named_parameters()):
        if name not in memory or memory[name].shape != parameter.shape:
            memory[name] = torch.empty(parameter.shape)
        visit(prefix + name, _kept(memory[name], weights.pieces(prefix + name)))
        state[name] = memory[name]
    module.load_state_dict(state, assign=True)
    return module.eval()


def _kept(tensor: torch.Tensor, pieces: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The same pieces, which fill a tensor on their way."""
    flat, at = tensor.view(-1), 0
    for piece in pieces:
        flat[at : at + piece.numel()] = piece
        at += piece.numel()
        yield piece


def _project(hidden_TD: torch.Tensor, weights: Weights, *, is_tied: bool, visit: Visit) -> torch.Tensor:
    """Logits by blocks of rows of the head; the embedding is visited too where it is another table."""
    head = EMBEDDING if is_tied else HEAD
    projection = _Projection(hidden_TD)
    visit(head, projection.passing(weights.pieces(head)))
    for name in sorted(TABLES - {head} & set(weights.names())):
        visit(name, weights.pieces(name))
    return projection.logits_TV()


class _Projection:
    """Multiplies rows of the head as they pass on, always as many at a time.

    A product of other sizes may round otherwise, and pieces are as long as the files have it.
    """

    def __init__(self, hidden_TD: torch.Tensor) -> None:
        self._hidden_TD = hidden_TD
        self._rows_ND = torch.empty(ROWS_AT_A_TIME, hidden_TD.shape[1])
        self._filled = 0
        self._parts: list[torch.Tensor] = []

    def passing(self, pieces: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The same pieces."""
        for piece in pieces:
            rows_ND = piece.view(-1, self._rows_ND.shape[1])
            while len(rows_ND):
                count = min(len(rows_ND), ROWS_AT_A_TIME - self._filled)
                self._rows_ND[self._filled : self._filled + count] = rows_ND[:count]
                self._filled, rows_ND = self._filled + count, rows_ND[count:]
                if self._filled == ROWS_AT_A_TIME:
                    self._multiply()
            yield piece

    def logits_TV(self) -> torch.Tensor:  # noqa: N802 - a shape
        """The logits over all rows that have passed."""
        if self._filled:
            self._multiply()
        return torch.cat(self._parts, dim=1)

    def _multiply(self) -> None:
        self._parts.append(self._hidden_TD @ self._rows_ND[: self._filled].T)
        self._filled = 0
