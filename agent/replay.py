"""A target's turns gone through once more, without policy and segmenter.

The same loop runs (agent/volume/order.py), with a policy that says what was said and a segmenter
that draws what was drawn (agent/recorded.py). So all that follows from them is found again: what
the policy was shown before each turn, which mask was the best after it, what was rolled back, and
how the target ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.conditions import Conditions, Drawing
from agent.errors import ReplayDiffers
from agent.ports import Segmenter
from agent.recorded import (
    Differs,
    GridOnly,
    RecordedFollower,
    RecordedPolicy,
    RecordedPrompter,
    RecordedSegmenter,
    Recording,
    ReplayedTurn,
    name_of,
)
from agent.trace import TracedTarget
from agent.turns import TargetResult, Turn
from agent.values import TargetStatus
from agent.volume.order import segment_target

_CONFIDENCE_TOLERANCE = 1e-9

Masks = Mapping[tuple[int, int], Mapping[int, NDArray[np.bool_]]]
"""What each turn drew, by (slice, turn): masks (rows, columns) bool by slice."""


@dataclass(frozen=True, eq=False)
class ReplayedTarget:
    """A target gone through again: its turns in the order of the record, and how it ended."""

    turns: tuple[ReplayedTurn, ...]
    result: TargetResult


def replay_target(traced: TracedTarget, masks: Masks) -> ReplayedTarget:
    """Go through a target's turns again; no slice's pixels are looked at.

    ReplayDiffers, in a sentence, names the first turn that does not follow from those before it, or
    says what else is not as recorded.
    """
    conditions = traced.conditions
    if conditions is None:
        raise ReplayDiffers("its turns are of trace version 1, which kept no masks")
    try:
        for turn in traced.turns:
            _check_masks(turn, masks)
        recording = Recording(traced, masks)
        result = _work(traced, recording, conditions)
        for turn in result.turns:
            recording.check(turn)
        _check_end(traced, recording, result)
    except Differs as error:
        raise ReplayDiffers(str(error)) from error
    return ReplayedTarget(tuple(map(recording.replayed, traced.turns)), result)


def _check_masks(turn: Turn, masks: Masks) -> None:
    """That a turn's masks are there and as large as its row says."""
    drawn = masks.get((turn.slice_index, turn.index))
    if turn.masks is None and turn.area_px is not None:
        raise Differs(f"{name_of(turn)} drew {turn.area_px} pixels and names no mask")
    if turn.masks is None:
        return
    if drawn is None:
        raise Differs(f"the mask of {name_of(turn)} is missing")
    if turn.area_px is not None:
        area_px = int(np.count_nonzero(drawn[turn.slice_index]))
        if area_px != turn.area_px:
            raise Differs(f"{name_of(turn)} drew {turn.area_px} pixels, its mask has {area_px}")


def _work(traced: TracedTarget, recording: Recording, conditions: Conditions) -> TargetResult:
    steps = segment_target(
        traced.target,
        GridOnly(conditions, traced.window),
        RecordedPolicy(recording),
        _segmenter(recording, conditions),
        conditions.limits,
        clock=lambda: 0.0,
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: TargetResult = end.value
            return result


def _segmenter(recording: Recording, conditions: Conditions) -> Segmenter:
    match conditions.drawing:
        case Drawing.PER_SLICE:
            return RecordedSegmenter(recording, conditions.supported_prompts)
        case Drawing.FOLLOWS:
            return RecordedFollower(recording, conditions.supported_prompts)
        case Drawing.WHOLE:
            return RecordedPrompter(recording, conditions.supported_prompts)


def _check_end(traced: TracedTarget, recording: Recording, result: TargetResult) -> None:
    unreached = next((turn for turn in traced.turns if not recording.is_reached(turn)), None)
    if unreached is not None:
        raise Differs(f"{name_of(unreached)} does not follow from the turns before it")
    if result.status is not traced.status:
        raise Differs(f"the turns lead to {result.status}, recorded is {traced.status}")
    difference = abs(result.confidence - traced.confidence)
    if result.status is TargetStatus.SEGMENTED and difference > _CONFIDENCE_TOLERANCE:
        raise Differs(
            f"the turns lead to a confidence of {result.confidence:.6f}, "
            f"recorded is {traced.confidence:.6f}"
        )
