"""What a model reads of a conversation: its token ids, and where in them which picture lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Placed:
    """A picture, by the digest of its pixels, in the tokens `start` up to `end` (excluded)."""

    digest: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class TokenSequence:
    """A conversation as the model takes it in: `ids` (tokens,) int64 and the pictures in order."""

    ids: NDArray[np.int64]
    pictures: tuple[Placed, ...] = ()

    def __len__(self) -> int:
        return int(self.ids.size)

    def shared(self, other: TokenSequence) -> int:
        """How many tokens from the start are the same in both, pixels included; never ends inside a
        picture.
        """
        shorter = min(len(self), len(other))
        differs = np.flatnonzero(self.ids[:shorter] != other.ids[:shorter])
        common = int(differs[0]) if differs.size else shorter
        for place, picture in enumerate(self.pictures):
            same = place < len(other.pictures) and other.pictures[place] == picture
            if picture.start < common and (not same or picture.end > common):
                return picture.start
        return common

    def begun(self, tokens: int) -> TokenSequence:
        """Its first `tokens`, which must not end inside a picture."""
        whole = tuple(picture for picture in self.pictures if picture.end <= tokens)
        return TokenSequence(self.ids[:tokens], whole)

    def followed_by(self, reply_ids: NDArray[np.int64]) -> TokenSequence:
        """This with the tokens `reply_ids` after it."""
        return TokenSequence(np.concatenate([self.ids, reply_ids]), self.pictures)


def placed_pictures(
    ids: NDArray[np.int64], image_token: int, digests: Sequence[str], counts: Sequence[int]
) -> tuple[Placed, ...]:
    """Where each picture lies: the first `counts[0]` image tokens are the first picture's, and so
    on.

    ValueError when there are not as many image tokens as the counts say.
    """
    # the image tokens in order; the running sums of the counts part them into pictures
    columns = np.flatnonzero(ids == image_token)
    if columns.size != sum(counts):
        raise ValueError(f"{columns.size} tokens stand for pictures, not {sum(counts)}")
    ends = np.cumsum(counts)
    return tuple(
        Placed(digest, int(columns[end - count]), int(columns[end - 1]) + 1)
        for digest, count, end in zip(digests, counts, ends, strict=True)
    )
