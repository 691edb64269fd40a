"""Outlined targets through the whole volume: propagated both ways, reviewed, with a result.

The order of `outline_target`, `follow_outlines` and `finish_target` is in agent/volume/order.py.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.episode.tidy import tidy_object
from agent.errors import AgentError, SegmenterFailed
from agent.ports import Slices, VolumeSegmenter
from agent.turns import TargetResult, Turn
from agent.values import TargetStatus
from agent.volume.assessment import assess
from agent.volume.carry import propagate_slice_by_slice
from agent.volume.consistency import check_consistency
from agent.volume.outline import Outline, ended_result
from agent.volume.propagate import follow
from agent.volume.target_state import EpisodeConfig, TargetState, conditions_of, trusted_slices

_DOUBTFUL = 0.5  # a confidence below this is worth a warning
_NOTABLE_INTERPOLATED = 0.1  # of its slices
_NOTABLE_SHARE = 0.02  # of the voxels, left out as parts apart from the rest


def follow_outlines(
    outlines: Sequence[Outline], slices: Slices, config: EpisodeConfig
) -> list[Outline]:
    """The outlines with their masks propagated through `slices` in one pass, in order; ended ones
    unchanged.

    They stay unchanged, for `finish_target` to propagate slice by slice, with a segmenter that is
    no VolumeSegmenter, or that fails.
    """
    waiting = [outline for outline in outlines if _is_waiting(outline)]
    segmenter = config.segmenter
    if not waiting or slices.shape[0] == 1 or not isinstance(segmenter, VolumeSegmenter):
        return list(outlines)
    target_states = [outline.target_state(slices, config) for outline in waiting]
    try:
        follow(target_states, slices, segmenter)
    except SegmenterFailed as failure:
        warning = f"carried slice by slice: {failure}"
        return [_with_warning(outline, warning) for outline in outlines]
    followed = iter(Outline.of(target_state, followed=True) for target_state in target_states)
    return [next(followed) if _is_waiting(outline) else outline for outline in outlines]


def finish_target(
    outline: Outline, slices: Slices, config: EpisodeConfig
) -> Generator[Turn, None, TargetResult]:
    """Propagate what `follow_outlines` did not, have the policy assess the whole, check its
    consistency; yields the further turns, returns the result.

    A policy that cannot go on ends the target FAILED with the reason, without a part of a mask.
    """
    if outline.ended is not None:
        return outline.ended
    target_state = outline.target_state(slices, config)
    try:
        yield from _finish(target_state, followed=outline.followed)
    except AgentError as error:
        return ended_result(target_state, TargetStatus.FAILED, str(error))
    return _result(target_state)


def _finish(target_state: TargetState, *, followed: bool) -> Generator[Turn, None, None]:
    if not followed:
        for z in tuple(target_state.key_slices):
            yield from propagate_slice_by_slice(target_state, z, 1)
            yield from propagate_slice_by_slice(target_state, z, -1)
    yield from assess(target_state)
    yield from check_consistency(target_state)


def _is_waiting(outline: Outline) -> bool:
    """Whether an outline has masks that are not propagated yet."""
    return outline.ended is None and not outline.followed


def _with_warning(outline: Outline, warning: str) -> Outline:
    return outline if outline.ended else replace(outline, warnings=(*outline.warnings, warning))


def _result(target_state: TargetState) -> TargetResult:
    all_voxels = target_state.voxels()
    if not all_voxels.any():
        return ended_result(
            target_state, TargetStatus.UNCERTAIN, "no slice's mask stood up to the review"
        )
    voxels = tidy_object(all_voxels, trusted_slices(target_state))
    left_out = 1.0 - np.count_nonzero(voxels) / np.count_nonzero(all_voxels)
    if left_out >= _NOTABLE_SHARE:
        target_state.warnings.append(
            f"{100 * left_out:.0f} % of what was drawn lay apart from the rest and was left out"
        )
    confidence = _confidence(target_state, voxels)
    return TargetResult(
        target=target_state.target,
        status=TargetStatus.SEGMENTED,
        voxels=voxels,
        confidence=confidence,
        turns=tuple(target_state.turns),
        warnings=(
            *target_state.warnings,
            *_interpolated(target_state, voxels),
            *_doubts(voxels, confidence),
        ),
        window=target_state.slices.window,
        conditions=conditions_of(target_state.config, target_state.slices),
        presence=target_state.presence,
        assessed=target_state.assessed,
    )


def _confidence(target_state: TargetState, voxels: NDArray[np.bool_]) -> float:
    """Mean score of the slices, weighted by their area, times the key slices' highest presence."""
    areas = np.count_nonzero(voxels, axis=(1, 2))
    scores = np.array([target_state.scores.get(z, 0.0) for z in range(len(areas))])
    presence = 1.0
    if target_state.presence:
        presence = max(target_state.presence[z] for z in target_state.key_slices)
    return float(np.clip(np.average(scores, weights=areas) * presence, 0.0, 1.0))


def _interpolated(target_state: TargetState, voxels: NDArray[np.bool_]) -> list[str]:
    """What a reader should know of slices that no model drew, where these are not few."""
    outlined = np.flatnonzero(voxels.any(axis=(1, 2)))
    count = sum(int(z) in target_state.interpolated for z in outlined)
    if count < _NOTABLE_INTERPOLATED * len(outlined):
        return []
    step_mm = target_state.slices.spacing_mm[0]
    sentence = f"{count} of its {len(outlined)} slices, {step_mm:.3g} mm apart, were interpolated"
    return [f"{sentence} between drawn ones that agree"]


def _doubts(voxels: NDArray[np.bool_], confidence: float) -> list[str]:
    doubts = []
    if len(voxels) > 1:
        doubts += [
            f"the structure is cut off by the {edge} edge of the volume"
            for edge, z in (("lower", 0), ("upper", -1))
            if voxels[z].any()
        ]
    if confidence < _DOUBTFUL:
        doubts.append("the planner is unsure of the outline: check it")
    return doubts
