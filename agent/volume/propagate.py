"""All targets of a volume propagated in one pass from their key slices, as far as each one goes.

The segmenter propagates (agent.ports.VolumeSegmenter), this module decides where an object ends:
where its mask is empty, where the model's score is low or the model breaks off, where the mask does
not fit its neighbour (a flood), or where the target's presence has been low for some slices.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.episode.tidy import tidy_slice
from agent.ports import PropagatedSlice, Seed, Slices, VolumeSegmenter
from agent.volume.between import dice
from agent.volume.neighbours import adjacent
from agent.volume.target_state import TargetState, record_propagation, trusted_slices

Mask2D = NDArray[np.bool_]


@dataclass(frozen=True)
class PropagationRange:
    """The slices of a target to propagate: from `seeds`, `lowest` to `highest`, both included."""

    seeds: tuple[int, ...]
    lowest: int
    highest: int


def follow(
    target_states: Sequence[TargetState],
    slices: Slices,
    segmenter: VolumeSegmenter,
    ranges: Sequence[PropagationRange] | None = None,
) -> None:
    """Propagate the masks of all states through `slices` in one pass, and enter the new masks.

    Without `ranges` each target goes from its key slices as far as its presence allows. With them,
    one a state, it goes only there, and ends where its mask agrees with the earlier one. Each state
    gets a turn of the whole volume. SegmenterFailed passes through; the masks until then stay.
    """
    ranges = ranges or [_full_range(target_state) for target_state in target_states]
    objects = [
        _PropagatedObject(target_state, span)
        for target_state, span in zip(target_states, ranges, strict=True)
    ]
    seeds = [propagated.seed for propagated in objects]
    began = time.perf_counter()
    try:
        for slice_of in segmenter.propagate(slices, seeds, lambda s: objects[s.index].continues(s)):
            objects[slice_of.index].keep(slice_of)
    finally:
        # the slices are gone through once for all objects: each bears an equal share of the time
        share_s = (time.perf_counter() - began) / max(len(objects), 1)
        for propagated in objects:
            propagated.record(share_s)


class _PropagatedObject:
    """One object while it is propagated: its new masks, and whether it goes on."""

    def __init__(self, target_state: TargetState, span: PropagationRange) -> None:
        self._state, self._range = target_state, span
        self._earlier_masks = dict(target_state.masks)
        self._new_masks: dict[int, Mask2D] = {}

    @property
    def seed(self) -> Seed:
        # an empty mask bars the way: the planner looked there and found nothing
        barred = np.zeros(self._state.slices.shape[1:], dtype=np.bool_)
        masks = dict.fromkeys(self._state.absences, barred)
        masks |= {z: self._state.masks[z] for z in self._range.seeds}
        return Seed(masks, self._range.lowest, self._range.highest)

    def continues(self, propagated: PropagatedSlice) -> bool:
        """Whether the object goes on beyond this slice; a slice that ends it is not kept."""
        limits, mask = self._state.limits, tidy_slice(propagated.segmentation.mask)
        is_sure = propagated.score >= limits.least_sure  # False for NaN too
        if not (mask.any() and is_sure):
            return False
        beside = self._neighbours(propagated.z)
        fault = propagated.break_off or None
        if fault is None and beside:
            fault = self._state.neighbourhood().drift(mask, beside)
        if fault is not None:
            self._state.warnings.append(
                f"the outline could not be followed to slice {propagated.z}: {fault}"
            )
            return False
        # where a correction gives the mask that was there before, it has no effect further on
        earlier = self._earlier_masks.get(propagated.z)
        return earlier is None or dice(mask, earlier) < limits.settled_overlap

    def keep(self, propagated: PropagatedSlice) -> None:
        """Enter a slice's mask, with the policy's score weighed by the model's."""
        z, segmentation = propagated.z, propagated.segmentation
        self._new_masks[z] = self._state.put_propagated(z, segmentation, propagated.score)

    def record(self, seconds: float) -> None:
        record_propagation(self._state, self._range.seeds, self._new_masks, seconds)

    def _neighbours(self, z: int) -> tuple[Mask2D, ...]:
        """The new masks beside slice `z`, or the seeds there; no mask that is to be replaced."""
        seeds = {n: self._state.masks[n] for n in self._range.seeds}
        return adjacent({**seeds, **self._new_masks}, z)


def affected_range(
    target_state: TargetState, corrected_slices: Iterable[int]
) -> PropagationRange | None:
    """The range that corrections can change: to the next trusted mask on each side.

    Trusted are the slices that the planner answers for and the corrections themselves. None without
    a correction.
    """
    redrawn = {z for z in corrected_slices if z in target_state.masks}
    if not redrawn:
        return None
    trusted = sorted(redrawn.union(trusted_slices(target_state)))
    depth = target_state.slices.shape[0]
    below = [z for z in trusted if z < min(redrawn)]
    above = [z for z in trusted if z > max(redrawn)]
    lowest = below[-1] + 1 if below else 0
    highest = above[0] - 1 if above else depth - 1
    # the trusted masks that bound the range, one slice outside of it, pull it to their shape too
    seeds = tuple(z for z in trusted if lowest - 1 <= z <= highest + 1)
    return PropagationRange(seeds, lowest, highest)


def _full_range(target_state: TargetState) -> PropagationRange:
    """From the key slices outwards until the presence has been low for `end_after` slices."""
    seeds = tuple(sorted(target_state.masks))
    return PropagationRange(
        seeds, _reach(target_state, seeds[0], -1), _reach(target_state, seeds[-1], 1)
    )


def _reach(target_state: TargetState, z: int, step: int) -> int:
    unlikely, depth = 0, target_state.slices.shape[0]
    while 0 <= z + step < depth and unlikely < target_state.limits.end_after:
        z += step
        unlikely = 0 if target_state.likely(z) else unlikely + 1
    # the last `unlikely` slices did not bring the structure back: the way ends before them
    return z - step * unlikely
