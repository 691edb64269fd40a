"""All targets of a volume followed in one pass from their key slices, as far as each one lives.

The segmenter follows (agent.ports.VolumeSegmenter), this module says where an object ends: where
nothing is drawn, where the model itself is not sure that it is there, where the mask does not
follow upon its neighbour (a flood), or where the survey has long seen nothing of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.episode.tidy import tidy_slice
from agent.ports import PropagatedSlice, Seed, Slices, VolumeSegmenter
from agent.volume.target_state import TargetState

Mask2D = NDArray[np.bool_]


@dataclass(frozen=True)
class PropagationRange:
    """Which slices of a target_state are followed anew: from `seeds`, between `lowest` and `highest`,
    both included.
    """

    seeds: tuple[int, ...]
    lowest: int
    highest: int


def follow(
    target_states: Sequence[TargetState],
    slices: Slices,
    segmenter: VolumeSegmenter,
    stretches: Sequence[PropagationRange] | None = None,
) -> None:
    """Follow every target_state's masks through `slices`, all in one pass, and put what is drawn on the
    target_states.

    Without `stretches` each goes from its key slices as far as the survey allows; with them (one a
    target_state) only there, and a stretch ends where what is drawn agrees with what was drawn before. A
    turn of the whole volume is written down for each. SegmenterFailed passes through; what was
    drawn until then stays.
    """
    stretches = stretches or [_whole(target_state) for target_state in target_states]
    tracks = [
        _PropagatedObject(target_state, stretch)
        for target_state, stretch in zip(target_states, stretches, strict=True)
    ]
    seeds = [track.seed for track in tracks]
    began = time.perf_counter()
    try:
        for drawn in segmenter.propagate(slices, seeds, lambda one: tracks[one.index].takes(one)):
            tracks[drawn.index].keep(drawn)
    finally:
        share_s = (time.perf_counter() - began) / max(len(tracks), 1)
        for track in tracks:
            track.write_down(share_s)


class _PropagatedObject:
    """One object on its way: what was drawn of it last in each direction, and whether it goes
    on.
    """

    def __init__(self, target_state: TargetState, stretch: PropagationRange) -> None:
        self._canvas, self._stretch = target_state, stretch
        self._before = dict(target_state.masks)
        self._drawn: dict[int, Mask2D] = {}

    @property
    def seed(self) -> Seed:
        masks = {z: self._canvas.masks[z] for z in self._stretch.seeds}
        return Seed(masks, self._stretch.lowest, self._stretch.highest)

    def takes(self, drawn: PropagatedSlice) -> bool:
        """Whether the object goes on beyond what was drawn; what is refused is not kept."""
        limits, mask = self._canvas.limits, tidy_slice(drawn.segmentation.mask)
        if not (
            mask.any() and drawn.score >= limits.least_sure
        ):  # an opinion that is no number is none
            return False
        beside = self._neighbours(drawn.z)
        fault = self._canvas.neighbourhood.drift(mask, beside) if beside else None
        if fault is not None:
            self._canvas.warnings.append(
                f"the outline could not be followed to slice {drawn.z}: {fault}"
            )
            return False
        earlier = self._before.get(drawn.z)
        return earlier is None or dice(mask, earlier) < limits.settled_overlap

    def keep(self, drawn: PropagatedSlice) -> None:
        """Put a slice on the state, with the policy's opinion weighed by the model's own."""
        mask = self._canvas.put_followed(drawn.z, drawn.segmentation, drawn.score)
        self._drawn[drawn.z] = mask

    def write_down(self, seconds: float) -> None:
        self._canvas.note_followed(self._stretch.seeds, self._drawn, seconds)

    def _neighbours(self, z: int) -> tuple[Mask2D, ...]:
        """The masks just drawn beside slice `z`, or the seeds there; never what is to be
        replaced.
        """
        seeds = {n: self._canvas.masks[n] for n in self._stretch.seeds}
        known = {**seeds, **self._drawn}
        return tuple(known[n] for n in (z - 1, z + 1) if n in known)


def corrected(target_state: TargetState, slices_redrawn: Iterable[int]) -> PropagationRange | None:
    """The stretch that corrections on `slices_redrawn` can change: to the next mask that is trusted
    on each side.

    Trusted are key slices and the corrections themselves. None where nothing was corrected.
    """
    redrawn = {z for z in slices_redrawn if z in target_state.masks}
    if not redrawn:
        return None
    trusted = sorted(redrawn | {z for z in target_state.key_slices if z in target_state.masks})
    depth = target_state.slices.shape[0]
    below = [z for z in trusted if z < min(redrawn)]
    above = [z for z in trusted if z > max(redrawn)]
    lowest = below[-1] + 1 if below else 0
    highest = above[0] - 1 if above else depth - 1
    seeds = tuple(z for z in trusted if lowest - 1 <= z <= highest + 1)
    return PropagationRange(seeds, lowest, highest)


def dice(one: Mask2D, other: Mask2D) -> float:
    """Dice of two masks (rows, columns); two empty ones agree."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * float(np.count_nonzero(one & other)) / total if total else 1.0


def _whole(target_state: TargetState) -> PropagationRange:
    """From the key slices outwards until the survey has seen nothing for `end_after` slices."""
    seeds = tuple(sorted(target_state.masks))
    return PropagationRange(
        seeds, _reach(target_state, seeds[0], -1), _reach(target_state, seeds[-1], 1)
    )


def _reach(target_state: TargetState, z: int, step: int) -> int:
    unlikely, depth = 0, target_state.slices.shape[0]
    while 0 <= z + step < depth and unlikely < target_state.limits.end_after:
        z += step
        unlikely = 0 if target_state.likely(z) else unlikely + 1
    return z - step * unlikely
