"""What a target's turns had drawn by when: the mask after each turn, and the one that would stand
if the last mask won. No model runs for either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.turns import Outcome, Turn


def masks_by_turn(
    turns: Sequence[Turn], shape: tuple[int, int, int], most: int
) -> list[NDArray[np.bool_]]:
    """The object (z, y, x) bool on the working grid of `shape` after 1, 2, … `most` turns on each
    slice: of each slice the best mask so far.

    What a segmenter followed to by itself is in all of them. The last one has all turns, those of
    the review too. Parts that the agent leaves out of the whole object at its end are in.
    """
    objects = []
    for budget in range(1, most + 1):
        within = [turn for turn in turns if budget == most or turn.index < budget or _whole(turn)]
        objects.append(_object(within, shape, {Outcome.KEPT}))
    return objects


def last_masks(turns: Iterable[Turn], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The object (z, y, x) bool of each slice's last mask, better or not."""
    drawn = {Outcome.KEPT, Outcome.ROLLED_BACK, Outcome.UNCHANGED}
    return _object(turns, shape, drawn)


def _object(
    turns: Iterable[Turn], shape: tuple[int, int, int], outcomes: set[Outcome]
) -> NDArray[np.bool_]:
    voxels = np.zeros(shape, dtype=np.bool_)
    for turn in turns:
        if turn.outcome is Outcome.ABSENT and not _whole(turn):
            voxels[turn.slice_index] = False
        elif turn.outcome in outcomes and turn.masks is not None:
            for z, mask in turn.masks.unpacked().items():
                voxels[z] = mask
    return voxels


def _whole(turn: Turn) -> bool:
    """Whether a turn is about the whole volume (agent.turns.WHOLE_VOLUME)."""
    return turn.slice_index < 0
