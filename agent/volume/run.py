"""Targets through the whole volume: outlined on key slices, followed both ways, reviewed, summed
up.

`segment_target` does all of it for one target. Where the segmenter follows objects by itself,
several targets are better outlined one by one (`outline_target`), followed in one pass
(`follow_outlines`) and finished one by one (`finish_target`): the encoder then runs once a slice
and the memory attention once for all.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.episode.state import Clock
from agent.episode.tidy import tidy_object
from agent.errors import AgentError, SegmenterFailed
from agent.limits import Limits
from agent.ports import Policy, Segmenter, Slices, VolumeSegmenter
from agent.turns import TargetResult, Turn
from agent.values import Target, TargetStatus
from agent.volume.assessment import inspect
from agent.volume.carry import carry
from agent.volume.consistency import review
from agent.volume.outline import Outline, ended_result, outline_target
from agent.volume.propagate import follow
from agent.volume.target_state import Canvas, Workers

_DOUBTFUL = 0.5  # a confidence below this is worth a warning
_WORTH_SAYING = 0.02  # of the voxels, left out as parts that hang on nothing


def segment_target(
    target: Target,
    slices: Slices,
    policy: Policy,
    segmenter: Segmenter,
    limits: Limits | None = None,
    *,
    clock: Clock = time.perf_counter,
) -> Generator[Turn, None, TargetResult]:
    """Segment one target in one volume; yields every turn as it happens, returns the TargetResult.

    A target the policy does not know, or a survey the segmenter fails at, ends FAILED with the
    reason; a structure that is not there ends ABSENT. AgentError never leaves; other errors pass
    through.
    """
    outline = yield from outline_target(target, slices, policy, segmenter, limits, clock=clock)
    workers, told = Workers(policy, segmenter, limits or Limits(), clock), len(outline.turns)
    (outline,) = follow_outlines([outline], slices, workers)
    yield from outline.turns[told:]
    return (yield from finish_target(outline, slices, workers))


def follow_outlines(outlines: Sequence[Outline], slices: Slices, workers: Workers) -> list[Outline]:
    """Outlines with their masks followed through `slices` in one pass, in order; ended ones as they
    are.

    With a segmenter that does not follow by itself, or fails at it, they are left for
    `finish_target` to carry on.
    """
    waiting = [one for one in outlines if one.ended is None and not one.followed]
    segmenter = workers.segmenter
    if not waiting or slices.shape[0] == 1 or not isinstance(segmenter, VolumeSegmenter):
        return list(outlines)
    canvases = [one.canvas(slices, workers) for one in waiting]
    try:
        follow(canvases, slices, segmenter)
    except SegmenterFailed as failure:
        return [_warned(one, f"carried slice by slice: {failure}") for one in outlines]
    done = iter(Outline.of(canvas, followed=True) for canvas in canvases)
    return [next(done) if one.ended is None and not one.followed else one for one in outlines]


def finish_target(
    outline: Outline, slices: Slices, workers: Workers
) -> Generator[Turn, None, TargetResult]:
    """Carry what was not followed, have the policy look at the whole, review it, sum it up; yields
    the further turns.

    A policy that cannot go on ends the target FAILED with the reason: half an object is none.
    """
    if outline.ended is not None:
        return outline.ended
    canvas = outline.canvas(slices, workers)
    try:
        yield from _finish(canvas, followed=outline.followed)
    except AgentError as error:
        return ended_result(canvas, TargetStatus.FAILED, str(error))
    return _result(canvas)


def _finish(canvas: Canvas, *, followed: bool) -> Generator[Turn, None, None]:
    if not followed:
        for z in tuple(canvas.key_slices):
            yield from carry(canvas, z, 1)
            yield from carry(canvas, z, -1)
    yield from inspect(canvas)
    yield from review(canvas)


def _warned(outline: Outline, said: str) -> Outline:
    return outline if outline.ended else replace(outline, warnings=(*outline.warnings, said))


def _result(canvas: Canvas) -> TargetResult:
    drawn = canvas.voxels()
    if not drawn.any():
        return ended_result(canvas, TargetStatus.FAILED, "no slice's mask stood up to the review")
    voxels = tidy_object(drawn, canvas.key_slices)
    left_out = 1.0 - np.count_nonzero(voxels) / np.count_nonzero(drawn)
    if left_out >= _WORTH_SAYING:
        canvas.warnings.append(
            f"{100 * left_out:.0f} % of what was drawn lay apart from the rest and was left out"
        )
    confidence = _confidence(canvas, voxels)
    return TargetResult(
        target=canvas.target,
        status=TargetStatus.SEGMENTED,
        voxels=voxels,
        confidence=confidence,
        turns=tuple(canvas.turns),
        warnings=(*canvas.warnings, *_doubts(voxels, confidence)),
        window=canvas.slices.window,
    )


def _confidence(canvas: Canvas, voxels: NDArray[np.bool_]) -> float:
    """Mean score of the slices, weighted by area, times how sure the survey was of the key
    slices.
    """
    areas = np.count_nonzero(voxels, axis=(1, 2))
    scores = np.array([canvas.scores.get(z, 0.0) for z in range(len(areas))])
    presence = 1.0
    if canvas.presence:
        presence = max(canvas.presence[z] for z in canvas.key_slices)
    return float(np.clip(np.average(scores, weights=areas) * presence, 0.0, 1.0))


def _doubts(voxels: NDArray[np.bool_], confidence: float) -> list[str]:
    doubts = []
    if len(voxels) > 1:
        doubts += [
            f"the structure is cut off by the {edge} edge of the volume"
            for edge, z in (("lower", 0), ("upper", -1))
            if voxels[z].any()
        ]
    if confidence < _DOUBTFUL:
        doubts.append(f"the confidence is only {confidence:.2f}: check the outline")
    return doubts
