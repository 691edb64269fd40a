"""Whether a slice's mask fits its neighbours: drift, and runaway slices.

All masks are (rows, columns) bool of one working grid. Size is compared by the equivalent radius
r = sqrt(area / pi), that of a disc of the same area. Between neighbours it may grow to
`radius_jump` * r + `reach_px`, where `reach_px` is the slice distance in pixels (a slope of 45
degrees), so thick slices may differ more. The same distance is allowed for a mask's place: overlap
counts within `reach_px` of the other mask, a centre may lie `reach_px` beyond the other's radius.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.limits import Limits

Mask2D = NDArray[np.bool_]


@dataclass(frozen=True)
class Neighbourhood:
    """How far a structure may move between slices: `reach_px` is the slice distance in pixels of
    the slice, at least one.
    """

    limits: Limits
    reach_px: float

    @classmethod
    def of(cls, limits: Limits, spacing_mm: tuple[float, float, float]) -> Neighbourhood:
        """The neighbourhood on a grid of `spacing_mm` (z, y, x)."""
        return cls(limits, reach_px(spacing_mm))

    def drift(self, mask: Mask2D, before: tuple[Mask2D, ...]) -> str | None:
        """Why a non-empty `mask` does not fit those `before` it, nearest first; None if it does.

        Only growth is drift: structures end, floods do not shrink. A fit with one of those before
        is enough: after a slice that was drawn too small the structure has its earlier size again.
        """
        faults = [self._drift(mask, neighbour) for neighbour in before]
        return faults[0] if all(faults) else None

    def runaway(self, mask: Mask2D, around: tuple[Mask2D, ...]) -> str | None:
        """Why a non-empty `mask` does not belong between its non-empty neighbours, one or two."""
        if all(self._outgrows(mask, neighbour) for neighbour in around):
            return "its area is far larger than its neighbours'"
        if all(self._share_on(mask, other) < self.limits.least_overlap for other in around):
            return "it does not lie on its neighbours"
        if len(around) < 2:
            return None  # beside its last slice a structure may be small and off centre
        if all(self._outgrows(neighbour, mask) for neighbour in around):
            return "its area is far smaller than its neighbours'"
        if all(self._off_centre(mask, neighbour) for neighbour in around):
            return "its centre lies aside of its neighbours'"
        return None

    def _drift(self, mask: Mask2D, neighbour: Mask2D) -> str | None:
        if self._outgrows(mask, neighbour):
            times = np.count_nonzero(mask) / np.count_nonzero(neighbour)
            return f"the area jumped to {times:.1f} times that of the neighbouring slice"
        # what runs obliquely leaves its outline by up to `reach_px` a slice, and has not moved
        if self._share_on(mask, neighbour) < self.limits.least_overlap:
            return "the mask has left its place on the neighbouring slice"
        return None

    def _outgrows(self, mask: Mask2D, neighbour: Mask2D) -> bool:
        allowed = radius_px(neighbour) * self.limits.radius_jump + self.reach_px
        return radius_px(mask) > allowed

    def _share_on(self, mask: Mask2D, neighbour: Mask2D) -> float:
        """Share of the smaller mask that lies on the other, or within `reach_px` of it."""
        smaller = min(np.count_nonzero(mask), np.count_nonzero(neighbour))
        overlap = np.count_nonzero(mask & neighbour) / smaller
        if overlap >= self.limits.least_overlap:  # nearly always, and distances take long
            return float(overlap)
        near = ndimage.distance_transform_edt(~neighbour) <= self.reach_px
        return float(min(np.count_nonzero(mask & near) / smaller, 1.0))

    def _off_centre(self, mask: Mask2D, neighbour: Mask2D) -> bool:
        distance_px = float(np.linalg.norm(_centre(mask) - _centre(neighbour)))
        return distance_px > radius_px(neighbour) + self.reach_px


def reach_px(spacing_mm: tuple[float, float, float]) -> float:
    """What an edge at 45 degrees moves from slice to slice of a grid of `spacing_mm` (z, y, x), in
    pixels; at least one.
    """
    return max(1.0, spacing_mm[0] / spacing_mm[2])


def shared_within(mask: Mask2D, other: Mask2D, distance_px: float) -> float:
    """Share 0..1 of two non-empty masks, taken together, that lies within `distance_px` of the
    other one; their Dice for a distance of 0.
    """
    rows, columns = (np.flatnonzero((mask | other).any(axis=axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask, other = mask[window], other[window]
    near = [ndimage.distance_transform_edt(~shape) <= distance_px for shape in (mask, other)]
    shared = np.count_nonzero(other & near[0]) + np.count_nonzero(mask & near[1])
    return float(shared / (np.count_nonzero(mask) + np.count_nonzero(other)))


def radius_px(mask: Mask2D) -> float:
    """The equivalent radius: that of a disc with the mask's area, in pixels."""
    return math.sqrt(np.count_nonzero(mask) / math.pi)


def adjacent(masks: Mapping[int, Mask2D], z: int) -> tuple[Mask2D, ...]:
    """The masks on slices `z` - 1 and `z` + 1, as far as there are any."""
    return tuple(masks[n] for n in (z - 1, z + 1) if n in masks)


def _centre(mask: Mask2D) -> NDArray[np.float64]:
    """Centre of mass (row, column) of a non-empty mask, from its sums along rows and columns."""
    weights = [np.count_nonzero(mask, axis=axis) for axis in (1, 0)]
    return np.array([np.average(np.arange(len(weight)), weights=weight) for weight in weights])
