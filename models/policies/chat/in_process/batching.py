"""Several conversations in one run of a model, each behind what is kept of it.

    columns     0 ........... past | past ......... past + fresh | generated
    one row     0 0 0 kept kept kept | 0 0 new new new new       | says says

Rows lie right-aligned in both parts, so that the last column of every row is its last token; the
attention mask hides what fills the gaps, and the positions are those that the whole conversation
has when it is read at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from models.policies.chat.in_process.cached_prefix import Found, LayerState
from models.policies.chat.in_process.token_sequences import TokenSequence

_ROOM_COLUMNS = 128  # a layer grows by so many tokens at a time


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """A growing cache layer with room for the tokens to come: the usual one is copied whole for
    every token.
    """

    def __init__(self, state: LayerState | None = None) -> None:
        super().__init__()
        self._length = 0
        self._room: LayerState | None = None
        if state is not None:
            self.update(*state)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write (batch, heads, tokens, size) behind what is there; all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self._length, self._length + key_states.shape[-2]
        keys, values = self._roomy(key_states, value_states, end)
        keys[:, :, start:end], values[:, :, start:end] = key_states, value_states
        self._length = end
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def _roomy(self, keys: torch.Tensor, values: torch.Tensor, needed: int) -> LayerState:
        if self._room is None or self._room[0].shape[-2] < needed:
            # rounded up to whole steps: n tokens cost n / 128 copies in place of n
            columns = -(-needed // _ROOM_COLUMNS) * _ROOM_COLUMNS
            grown = tuple(
                states.new_empty((*states.shape[:2], columns, states.shape[-1]))
                for states in (keys, values)
            )
            if self._room is not None:
                for new, old in zip(grown, self._room, strict=True):
                    new[:, :, : self._length] = old[:, :, : self._length]
            self._room = (grown[0], grown[1])
        return self._room


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows side by side: `past` columns of what was kept, then `fresh` columns of what is read now.

    `input_ids` and `attention_mask` (batch, past + fresh) int64; `cache` holds the `past` columns.
    """

    readings: tuple[TokenSequence, ...]
    prefixes: tuple[Found | None, ...]
    past: int
    fresh: int
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    cache: Cache

    @property
    def columns(self) -> int:
        """Columns before the first generated token."""
        return self.past + self.fresh

    def reused(self, row: int) -> int:
        """How many tokens of a row are not read again."""
        return _tokens(self.prefixes[row])

    def columns_of(self, row: int, reply_tokens: int) -> torch.Tensor:
        """Where a row's tokens lie: those of its prefix, those read, and the first `reply_tokens`
        of its reply.
        """
        # past - reused … past - 1, then (past + fresh) - read … past + fresh - 1, then the reply
        reused = self.reused(row)
        read = len(self.readings[row]) - reused
        return torch.cat(
            [
                torch.arange(self.past - reused, self.past),
                torch.arange(self.columns - read, self.columns + reply_tokens),
            ]
        )

    def spread(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Each row's values (..., tokens) of all its tokens, laid into (..., batch, past + fresh),
        zero in the gaps.
        """
        first = values[0]
        laid = first.new_zeros((*first.shape[:-1], len(values), self.columns))
        for row, value in enumerate(values):
            laid[..., row, self.columns_of(row, reply_tokens=0)] = value
        return laid


def lay_batch(
    readings: Sequence[TokenSequence],
    prefixes: Sequence[Found | None],
    *,
    layers: int,
    filler: int,
    device: torch.device,
) -> Batch:
    """Lay conversations side by side behind what was found of them; gaps hold the token
    `filler`.
    """
    # past = the longest prefix, fresh = the most tokens that a row still has to read. A row with p
    # prefix tokens and f fresh ones fills the last p of the first part and the last f of the
    # second: causal attention sees its own tokens in order, and the mask hides the columns between
    past = max(_tokens(prefix) for prefix in prefixes)
    fresh = max(
        len(reading) - _tokens(prefix) for reading, prefix in zip(readings, prefixes, strict=True)
    )
    ids = torch.full((len(readings), past + fresh), filler)
    mask = torch.zeros_like(ids)
    cache = Cache(layers=[RoomyLayer(_state(prefixes, layer, past)) for layer in range(layers)])
    batch = Batch(tuple(readings), tuple(prefixes), past, fresh, ids, mask, cache)
    for row, reading in enumerate(readings):
        columns = batch.columns_of(row, reply_tokens=0)
        ids[row, columns] = torch.from_numpy(reading.ids)
        mask[row, columns] = 1
    return Batch(
        tuple(readings), tuple(prefixes), past, fresh, ids.to(device), mask.to(device), cache
    )


def row_layers(batch: Batch, row: int, reply_tokens: int) -> tuple[LayerState, ...]:
    """What a row and the first `reply_tokens` of its reply left in every layer, without the
    gaps.
    """
    columns = batch.columns_of(row, reply_tokens)
    return tuple(
        (
            layer.keys[row].index_select(1, columns.to(layer.keys.device)),
            layer.values[row].index_select(1, columns.to(layer.values.device)),
        )
        for layer in batch.cache.layers
    )


def _tokens(prefix: Found | None) -> int:
    return 0 if prefix is None else prefix.tokens


def _state(prefixes: Sequence[Found | None], layer: int, past: int) -> LayerState | None:
    """One layer's kept columns of all rows, (batch, heads, past, size); None when nothing is
    kept.
    """
    example = next((prefix.entry.layers[layer] for prefix in prefixes if prefix), None)
    if example is None:
        return None
    laid = tuple(
        states.new_zeros((len(prefixes), states.shape[0], past, states.shape[-1]))
        for states in example
    )
    for row, prefix in enumerate(prefixes):
        if prefix is not None:
            for to, prefix_states in zip(laid, prefix.entry.layers[layer], strict=True):
                to[row, :, past - prefix.tokens :] = prefix_states[:, : prefix.tokens]
    return laid[0], laid[1]
