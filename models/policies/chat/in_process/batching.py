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
            columns = -(-needed // _ROOM_COLUMNS) * _ROOM_COLUMNS
            grown = tuple(
                each.new_empty((*each.shape[:2], columns, each.shape[-1]))
                for each in (keys, values)
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
    founds: tuple[Found | None, ...]
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
        return _tokens(self.founds[row])

    def columns_of(self, row: int, said: int) -> torch.Tensor:
        """Where a row's tokens lie: those kept, those read, and the first `said` of its reply."""
        reused = self.reused(row)
        read = len(self.readings[row]) - reused
        return torch.cat(
            [
                torch.arange(self.past - reused, self.past),
                torch.arange(self.columns - read, self.columns + said),
            ]
        )

    def spread(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        """Each row's values (..., tokens) of all its tokens, laid into (..., batch, past + fresh),
        zero in the gaps.
        """
        first = values[0]
        laid = first.new_zeros((*first.shape[:-1], len(values), self.columns))
        for row, value in enumerate(values):
            laid[..., row, self.columns_of(row, said=0)] = value
        return laid


def lay_batch(
    readings: Sequence[TokenSequence],
    founds: Sequence[Found | None],
    *,
    layers: int,
    filler: int,
    device: torch.device,
) -> Batch:
    """Lay conversations side by side behind what was found of them; gaps hold the token
    `filler`.
    """
    past = max(_tokens(found) for found in founds)
    fresh = max(len(each) - _tokens(found) for each, found in zip(readings, founds, strict=True))
    ids = torch.full((len(readings), past + fresh), filler)
    mask = torch.zeros_like(ids)
    cache = Cache(layers=[RoomyLayer(_state(founds, layer, past)) for layer in range(layers)])
    batch = Batch(tuple(readings), tuple(founds), past, fresh, ids, mask, cache)
    for row, reading in enumerate(readings):
        columns = batch.columns_of(row, said=0)
        ids[row, columns] = torch.from_numpy(reading.ids)
        mask[row, columns] = 1
    return Batch(
        tuple(readings), tuple(founds), past, fresh, ids.to(device), mask.to(device), cache
    )


def row_layers(batch: Batch, row: int, said: int) -> tuple[LayerState, ...]:
    """What a row and the first `said` tokens of its reply left in every layer, without the gaps."""
    columns = batch.columns_of(row, said)
    return tuple(
        (
            layer.keys[row].index_select(1, columns.to(layer.keys.device)),
            layer.values[row].index_select(1, columns.to(layer.values.device)),
        )
        for layer in batch.cache.layers
    )


def _tokens(found: Found | None) -> int:
    return 0 if found is None else found.tokens


def _state(founds: Sequence[Found | None], layer: int, past: int) -> LayerState | None:
    """One layer's kept columns of all rows, (batch, heads, past, size); None when nothing is
    kept.
    """
    example = next((found.kept.layers[layer] for found in founds if found), None)
    if example is None:
        return None
    laid = tuple(
        each.new_zeros((len(founds), each.shape[0], past, each.shape[-1])) for each in example
    )
    for row, found in enumerate(founds):
        if found is not None:
            for to, kept in zip(laid, found.kept.layers[layer], strict=True):
                to[row, :, past - found.tokens :] = kept[:, : found.tokens]
    return laid[0], laid[1]
