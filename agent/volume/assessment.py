"""The policy assesses the whole object: it names the worst slices, which are drawn again."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from agent.errors import AgentError, NoAnswer, SegmenterFailed
from agent.ports import VolumeSegmenter
from agent.turns import Turn
from agent.values import Role, Segmentation
from agent.volume.between import between
from agent.volume.filling import refill
from agent.volume.neighbours import adjacent
from agent.volume.propagate import affected_range, follow
from agent.volume.target_state import TargetState, note_second_look

NAMED = "you named it when you looked over the whole"
"""Why a slice is under review that the policy itself found wrong."""


def assess(target_state: TargetState) -> Generator[Turn, None, None]:
    """Ask the policy which slices need correction and work on them; yields the turns.

    A slice that cannot be corrected keeps its mask. A VolumeSegmenter propagates the corrections
    again, only as far as they have an effect. An assessment that fails is a warning.
    """
    if target_state.slices.shape[0] == 1:
        return
    voxels = target_state.voxels()
    try:
        assessment = target_state.config.policy.assess(
            target_state.target, target_state.slices, voxels
        )
    except NoAnswer as error:
        yield from target_state.record_replies(Role.INSPECT, error.replies)
        target_state.warnings.append(f"the whole was not inspected: {error}")
        return
    except AgentError as error:
        target_state.warnings.append(f"the whole was not inspected: {error}")
        return
    yield from target_state.record_replies(Role.INSPECT, assessment.replies)
    target_state.assessed = tuple(map(int, assessment.slices))
    depth = target_state.slices.shape[0]
    named = [int(z) for z in dict.fromkeys(assessment.slices) if 0 <= z < depth]
    redrawn: list[int] = []
    for z in named[: target_state.limits.inspected_slices]:
        has_new_mask = yield from _redraw(target_state, z, voxels)
        redrawn += [z] if has_new_mask else []
        if z not in target_state.masks:
            _cut_beyond(target_state, z)
    yield from refill(target_state, named)
    yield from _follow_again(target_state, redrawn)


def _redraw(
    target_state: TargetState, z: int, voxels: NDArray[np.bool_]
) -> Generator[Turn, None, bool]:
    """Work on slice `z` of the object `voxels` (z, y, x) bool that the policy looked over; whether
    it has a new mask. Its mask goes where the policy says absent.

    The policy is shown as much as it saw when it named the slice: what it missed there may lie
    beside all that the neighbours show. The slice's own mask, which is in doubt, tells nothing.
    """
    object_outline = np.asarray(np.delete(voxels, z, axis=0).any(axis=0))
    around = adjacent(target_state.masks, z)
    expected = between(*around) if len(around) == 2 else (around[0] if around else None)
    sources = target_state.interpolated.get(z)
    earlier = target_state.take(z) if z in target_state.masks else None
    suspect = None if earlier is None else Segmentation.of_mask(earlier[0])
    episode = yield from target_state.draw(
        z,
        Role.REVIEW,
        carried=expected,
        suspect=suspect,
        doubt=NAMED,
        object_outline=object_outline,
    )
    if episode.best is not None:
        note_second_look(target_state, z, episode)
        return True
    if earlier is not None and not episode.absent:
        target_state.put(z, *earlier, sources)
        note_second_look(target_state, z, episode)
    elif earlier is not None:
        reason = target_state.absences.get(z) or "on a second look the structure is not there"
        target_state.warnings.append(f"slice {z} was cut: {reason}")
    return False


def _cut_beyond(target_state: TargetState, z: int) -> None:
    """Remove the masks that were reached through slice `z`, on which the structure is absent: those
    beyond it as seen from the key slices, if all of these lie on one side of it.
    """
    # with key slices on both sides (or z among them) no sign stands for all, and nothing is beyond
    sides = {np.sign(z - key) for key in target_state.key_slices}
    beyond = [n for n in target_state.masks if sides == {np.sign(n - z)}]
    for n in beyond:
        target_state.take(n)
    if beyond:
        target_state.warnings.append(
            f"slices {min(beyond)} to {max(beyond)} were cut too: "
            f"they were reached through slice {z}"
        )


def _follow_again(target_state: TargetState, redrawn: list[int]) -> Generator[Turn, None, None]:
    segmenter, span = target_state.config.segmenter, affected_range(target_state, redrawn)
    if span is None or not isinstance(segmenter, VolumeSegmenter):
        return
    turns_before = len(target_state.turns)
    try:
        follow([target_state], target_state.slices, segmenter, [span])
    except SegmenterFailed as failure:
        target_state.warnings.append(f"the corrections were not followed: {failure}")
    yield from target_state.turns[turns_before:]
