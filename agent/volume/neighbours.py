"""What a slice's neighbours say about its mask: drift, runaway slices, and the mask between two.

All masks are (rows, columns) bool of one working grid. Growth is judged by the equivalent radius,
the radius of a disc of the same area: between neighbours it may grow by `radius_jump` and by the
distance between slices on top (a slope of 45 degrees), so thick slices may differ more.
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
    """How far a structure may move from one slice to the next: `reach_px` the distance between
    slices in pixels of the slice, at least one.
    """

    limits: Limits
    reach_px: float

    @classmethod
    def of(cls, limits: Limits, spacing_mm: tuple[float, float, float]) -> Neighbourhood:
        """The neighbourhood on a grid of `spacing_mm` (z, y, x)."""
        return cls(limits, max(1.0, spacing_mm[0] / spacing_mm[2]))

    def drift(self, mask: Mask2D, before: tuple[Mask2D, ...]) -> str | None:
        """Why a non-empty `mask` cannot follow upon those `before` it, nearest first; None if it
        can.

        Only growth is drift: structures end, floods do not shrink. To fit one of those before is
        enough: after a slice that was drawn too small the structure is as large again as it was.
        """
        faults = [self._drift(mask, one) for one in before]
        return faults[0] if all(faults) else None

    def runaway(self, mask: Mask2D, around: tuple[Mask2D, ...]) -> str | None:
        """Why a non-empty `mask` does not belong between its non-empty neighbours, one or two."""
        if all(self._outgrows(mask, one) for one in around):
            return "its area is far larger than its neighbours'"
        if all(self._share_on(mask, one) < self.limits.least_overlap for one in around):
            return "it does not lie on its neighbours"
        if len(around) < 2:
            return None  # at its end a structure may be small and aside
        if all(self._outgrows(one, mask) for one in around):
            return "its area is far smaller than its neighbours'"
        if all(self._off_centre(mask, one) for one in around):
            return "its centre lies aside of its neighbours'"
        return None

    def _drift(self, mask: Mask2D, neighbour: Mask2D) -> str | None:
        if self._outgrows(mask, neighbour):
            times = np.count_nonzero(mask) / np.count_nonzero(neighbour)
            return f"the area jumped to {times:.1f} times that of the neighbouring slice"
        if self._share_on(mask, neighbour) < self.limits.least_overlap:
            return "the mask has left its place on the neighbouring slice"
        return None

    def _outgrows(self, mask: Mask2D, neighbour: Mask2D) -> bool:
        allowed = radius_px(neighbour) * self.limits.radius_jump + self.reach_px
        return radius_px(mask) > allowed

    def _share_on(self, mask: Mask2D, neighbour: Mask2D) -> float:
        """Share of the smaller mask that lies on the other, or within `reach_px` of it."""
        smaller = min(np.count_nonzero(mask), np.count_nonzero(neighbour))
        plain = np.count_nonzero(mask & neighbour) / smaller
        if plain >= self.limits.least_overlap:  # nearly always, and the distances are dear
            return float(plain)
        near = ndimage.distance_transform_edt(~neighbour) <= self.reach_px
        return float(min(np.count_nonzero(mask & near) / smaller, 1.0))

    def _off_centre(self, mask: Mask2D, neighbour: Mask2D) -> bool:
        distance = float(np.linalg.norm(_centre(mask) - _centre(neighbour)))
        return distance > radius_px(neighbour) + self.reach_px


def radius_px(mask: Mask2D) -> float:
    """The equivalent radius: that of a disc with the mask's area, in pixels."""
    return math.sqrt(np.count_nonzero(mask) / math.pi)


def adjacent(masks: Mapping[int, Mask2D], z: int) -> tuple[Mask2D, ...]:
    """The masks right below and right above slice `z`, those that there are."""
    return tuple(masks[n] for n in (z - 1, z + 1) if n in masks)


def between(one: Mask2D, other: Mask2D) -> Mask2D:
    """The mask half-way between two non-empty masks: where the mean of their signed distances is
    inside.

    Empty when the two lie too far apart to have anything between them.
    """
    return np.asarray(_signed_distance(one) + _signed_distance(other) > 0)


def _signed_distance(mask: Mask2D) -> NDArray[np.float64]:
    """Pixels to the outline, positive inside."""
    inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.asarray(inside - ndimage.distance_transform_edt(~mask), dtype=np.float64)


def _centre(mask: Mask2D) -> NDArray[np.float64]:
    """Centre of a non-empty mask (row, column)."""
    weights = [np.count_nonzero(mask, axis=axis) for axis in (1, 0)]
    return np.array([np.average(np.arange(len(weight)), weights=weight) for weight in weights])
