"""What a second segmenter draws for the same prompts, and how far both masks agree.

A mask that two segmenters draw from the same box and clicks hangs on the prompts; one that only one
of them draws hangs on that segmenter. Which of the two is right is not known: a person has to look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from agent.actions import AddBox, AddPoint
from agent.episode.actions_to_prompts import apply_action
from agent.errors import SegmenterFailed
from agent.limits import Limits
from agent.ports import Segmenter, Slices
from agent.turns import Outcome, SecondOpinion, TargetResult, Turn
from agent.values import PromptKind, Prompts, Role

_BY_THE_PLANNER = frozenset({Role.KEY, Role.REVIEW})


def accepted_prompts(
    turns: Collection[Turn], supported_prompts: Collection[PromptKind], limits: Limits
) -> Mapping[int, Prompts]:
    """The box and the clicks of the accepted turns, by slice, as they stood at the end.

    Only slices that the planner worked on have any: what was carried to the others shows the first
    segmenter's own masks again. Prompts that are not among `supported_prompts` are left out, and
    slices where none is left.
    """
    prompts: dict[int, Prompts] = {}
    for turn in turns:
        action = turn.action
        if turn.role not in _BY_THE_PLANNER or turn.outcome is not Outcome.KEPT:
            continue
        if isinstance(action, AddBox | AddPoint):
            kind = PromptKind.BOX if isinstance(action, AddBox) else PromptKind.POINT
            if kind in supported_prompts:
                before = prompts.get(turn.slice_index, Prompts())
                prompts[turn.slice_index] = apply_action(before, action, limits.undo_px)
    return prompts


def second_opinion(
    result: TargetResult, slices: Slices, segmenter: Segmenter, limits: Limits
) -> SecondOpinion:
    """How far `segmenter` agrees with a segmented target on the slices that the planner prompted.

    The Dice counts the pixels of all these slices together. ValueError for a target without a mask.
    """
    if result.voxels is None:
        raise ValueError(f"{result.target.text!r} was not segmented: there is nothing to compare")
    overlap_px = total_px = 0
    slice_indices: list[int] = []
    prompts_by_slice = accepted_prompts(result.turns, segmenter.supported_prompts, limits)
    for z, prompts in sorted(prompts_by_slice.items()):
        try:
            segmentation = segmenter.segment(segmenter.encode(_image(slices, z)), prompts)
        except SegmenterFailed:
            continue
        mask = result.voxels[z]
        overlap_px += int(np.count_nonzero(mask & segmentation.mask))
        total_px += int(np.count_nonzero(mask)) + int(np.count_nonzero(segmentation.mask))
        slice_indices.append(z)
    dice = 2 * overlap_px / total_px if total_px else None
    return SecondOpinion(segmenter.name, dice, tuple(slice_indices))


def _image(slices: Slices, z: int) -> NDArray[np.float32]:
    """What a segmenter is given of a slice: its colours where it has any, else the grey slice."""
    picture = slices.picture(z)
    grey = bool((picture == picture[:, :, :1]).all())
    return slices.image(z) if grey else picture
