"""Conversations side by side: where each token lies, what hides the gaps, what is kept."""

from __future__ import annotations

import numpy as np
import torch

from models.policies.chat.in_process.batching import Batch, RoomyLayer, lay_batch, row_layers
from models.policies.chat.in_process.cached_prefix import CachedPrefix, Found, LayerState
from models.policies.chat.in_process.token_sequences import TokenSequence

FILLER, LAYERS, HEADS, SIZE = 9, 2, 3, 4


def reading(*ids: int) -> TokenSequence:
    return TokenSequence(np.array(ids, dtype=np.int64))


def states(tokens: int, first: float) -> LayerState:
    """Keys that count up from `first` by token, and their negatives as values."""
    keys = torch.arange(first, first + tokens).float()[None, :, None].expand(HEADS, tokens, SIZE)
    return keys, -keys


def prefix(ids: TokenSequence, tokens: int, first: float) -> Found:
    layers = tuple(states(len(ids), first + 100 * layer) for layer in range(LAYERS))
    return Found(CachedPrefix(ids, len(ids), layers), tokens, 0)


def laid() -> Batch:
    """Three rows: 2 of 4 tokens known, nothing of 3, 1 of 2 with an entry that is longer."""
    rows = (reading(1, 2, 3, 4), reading(5, 6, 7), reading(8, 1))
    found = (prefix(rows[0].begun(2), 2, 10), None, prefix(reading(8, 3, 3), 1, 20))
    cpu = torch.device("cpu")
    return lay_batch(rows, found, layers=LAYERS, filler=FILLER, device=cpu)


def test_every_row_ends_in_the_last_column_and_gaps_are_hidden() -> None:
    batch = laid()

    assert (batch.past, batch.fresh, batch.columns) == (2, 3, 5)
    assert batch.input_ids.tolist() == [[1, 2, 9, 3, 4], [9, 9, 5, 6, 7], [9, 8, 9, 9, 1]]
    assert batch.attention_mask.tolist() == [[1, 1, 0, 1, 1], [0, 0, 1, 1, 1], [0, 1, 0, 0, 1]]
    assert [batch.reused(row) for row in range(3)] == [2, 0, 1]


def test_what_was_kept_lies_under_its_tokens() -> None:
    for number, layer in enumerate(laid().cache.layers):
        keys, values = layer.keys[:, 0, :, 0], layer.values[:, 0, :, 0]
        shift = 100 * number
        # the third row takes the first token of its entry, none of the two that differ
        assert keys.tolist() == [[10 + shift, 11 + shift], [0, 0], [0, 20 + shift]]
        assert torch.equal(values, -keys)


def test_values_are_spread_over_the_columns_of_their_tokens() -> None:
    batch = laid()
    values = [torch.stack([row.ids_of, 10 * row.ids_of]) for row in map(_Ids, batch.readings)]

    spread = batch.spread(values)

    assert spread[0].tolist() == [[1, 2, 0, 3, 4], [0, 0, 5, 6, 7], [0, 8, 0, 0, 1]]
    assert torch.equal(spread[1], 10 * spread[0])


class _Ids:
    """A reading's ids as a tensor."""

    def __init__(self, of: TokenSequence) -> None:
        self.ids_of = torch.from_numpy(of.ids)


def test_a_row_is_kept_with_its_reply_and_without_the_gaps() -> None:
    batch = laid()
    # what the model makes of the fresh columns and two generated ones: their column's number
    columns = torch.arange(2.0, 7.0)[None, None, :, None].expand(3, HEADS, 5, SIZE)
    for layer in batch.cache.layers:
        layer.update(columns, -columns)

    assert kept_keys(batch, row=0, reply_tokens=1) == [10, 11, 3, 4, 5]
    assert kept_keys(batch, row=1, reply_tokens=2) == [2, 3, 4, 5, 6]
    assert kept_keys(batch, row=2, reply_tokens=0) == [20, 4]


def kept_keys(batch: Batch, *, row: int, reply_tokens: int) -> list[float]:
    """The first layer's keys of one head and channel."""
    keys, values = row_layers(batch, row, reply_tokens)[0]
    assert torch.equal(values, -keys)
    listed: list[float] = keys[0, :, 0].tolist()
    return listed


def test_without_anything_kept_nothing_is_past() -> None:
    rows = (reading(1, 2), reading(3))

    batch = lay_batch(rows, (None, None), layers=LAYERS, filler=FILLER, device=torch.device("cpu"))

    assert (batch.past, batch.fresh) == (0, 2)
    assert batch.cache.get_seq_length() == 0
    assert batch.input_ids.tolist() == [[1, 2], [9, 3]]


def test_a_layer_grows_in_steps_and_loses_nothing() -> None:
    layer = RoomyLayer()
    wanted = torch.arange(300.0)[None, None, :, None].expand(2, HEADS, 300, SIZE)

    rooms = set()
    for start, end in ((0, 127), (127, 128), (128, 129), (129, 300)):
        keys, values = layer.update(wanted[:, :, start:end], -wanted[:, :, start:end])
        rooms.add(keys.untyped_storage().nbytes() // (2 * HEADS * SIZE * 4))
        assert torch.equal(keys, wanted[:, :, :end])
        assert torch.equal(values, -wanted[:, :, :end])

    assert rooms == {128, 256, 384}
    assert layer.get_seq_length() == 300
