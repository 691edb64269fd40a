"""What a model has read, kept between the turns of episodes: keys and values of every layer, within
a limit.

A conversation grows by its end, so what was read of it at the last turn is a prefix of what is read
now. Entries are found by the tokens and the pixels themselves: the longest prefix that is the same,
of any episode.

An ordinary cache by key (cachetools) would not do: an entry is looked up by its longest common
prefix, and one that is longer than the limit is left out in silence and is no error.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch

from models.policies.chat.in_process.token_sequences import TokenSequence

LayerState = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of one layer, each (heads, tokens, head size)."""


@dataclass(frozen=True, eq=False)
class CachedPrefix:
    """The state of all layers after `reading`, of which the first `prompt_tokens` were the
    prompt.
    """

    reading: TokenSequence
    prompt_tokens: int
    layers: tuple[LayerState, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of device memory."""
        return sum(states.nbytes for layer in self.layers for states in layer)


@dataclass(frozen=True, eq=False)
class Found:
    """What can be used again: the first `tokens` of an entry; `number` names it to the store."""

    entry: CachedPrefix
    tokens: int
    number: int


class KeptStates:
    """Entries up to `limit_bytes` in all; the one used longest ago goes first. One thread at a
    time.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: OrderedDict[int, CachedPrefix] = OrderedDict()
        self._next = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(entry.nbytes for entry in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, reading: TokenSequence) -> Found | None:
        """The entry that shares most with the start of `reading`; None when none shares anything.

        The last token is never taken from an entry: the model must read something to answer.
        """
        best: Found | None = None
        for number, entry in self._entries.items():
            tokens = min(reading.shared(entry.reading), len(reading) - 1)
            if tokens > (best.tokens if best else 0):
                best = Found(entry, tokens, number)
        if best:
            self._entries.move_to_end(best.number)
        return best

    def put(self, entry: CachedPrefix, prefix: Found | None = None) -> None:
        """Keep an entry that was read on from `prefix`; that one is let go when all of its prompt
        is in the new one.
        """
        if prefix is not None and prefix.tokens >= prefix.entry.prompt_tokens:
            self._entries.pop(prefix.number, None)
        if entry.nbytes > self._limit:
            return
        self._entries[self._next] = entry
        self._next += 1
        total_bytes = self.nbytes
        while total_bytes > self._limit:
            _, gone = self._entries.popitem(last=False)
            total_bytes -= gone.nbytes

    def clear(self) -> None:
        """Let everything go."""
        self._entries.clear()
