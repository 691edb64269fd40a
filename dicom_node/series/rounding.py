"""Rounded positions: how far rounding moves a slice, and whether it alone makes steps uneven.

A coordinate written in tenths of a millimetre is up to 0.05 mm off, in whole millimetres up to 0.5
mm. Slices that are evenly spaced then lie within that of a straight line with even steps, however
much single steps differ. Where the unit is coarse against the step, a line can also be found for
slices of which one is missing: then the step that the header declares must be the line's, or the
instance numbers must run without a gap where slices overlap or declare none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.series.plane import Plane

_MOST_DECIMALS = 2  # finer digits than hundredths move a slice by less than any tolerance
_EPSILON_MM = 1e-4
# A slice missing in the middle moves the others by a quarter of a step at least, the rounding by
# half a unit at most in either direction: with steps above four units, no gap hides in it.
_GAP_SHOWS_UNITS = 4.0
_SHARE_OF_MULTIPLE = 1e-3


@dataclass(frozen=True, eq=False)
class Rounding:
    """`half_units_mm` (x, y, z): how far rounding may have moved a coordinate.

    It is 0 where all slices share the coordinate, or where it has digits enough.
    """

    half_units_mm: NDArray[np.float64]

    @classmethod
    def of(cls, positions_mm: NDArray[np.float64]) -> Rounding:
        """The rounding that the digits of positions (z, 3) show."""
        return cls(np.array([_half_unit(column) for column in positions_mm.T]))

    def along(self, direction: NDArray[np.float64]) -> float:
        """The most, in mm, that a slice can be off along a unit vector.

        The error lies in a box with half sides u; its largest projection on d is sum(|d| u).
        """
        return float(np.abs(direction) @ self.half_units_mm)

    def across(self, direction: NDArray[np.float64]) -> float:
        """How far, in mm, a slice can be off at right angles to a unit vector d.

        An error u_i along axis i has the part u_i sqrt(1 - d_i^2) across d; the three are added as
        if they were at right angles.
        """
        return float(np.linalg.norm(self.half_units_mm * np.sqrt(np.clip(1 - direction**2, 0, 1))))

    @property
    def unit_mm(self) -> float:
        """The coarsest unit that a coordinate is written in; 0 where none is coarse."""
        return 2 * float(self.half_units_mm.max())


def _half_unit(values_mm: NDArray[np.float64]) -> float:
    if np.ptp(values_mm) == 0:
        return 0.0
    for decimals in range(_MOST_DECIMALS + 1):
        if np.abs(values_mm - np.round(values_mm, decimals)).max() < _EPSILON_MM / 10:
            return 0.5 * float(10.0**-decimals)
    return 0.0


def declared_steps_mm(planes: Sequence[Plane]) -> tuple[float, ...]:
    """The stated distance of slices: Spacing Between Slices, then Slice Thickness."""
    declared = (planes[0].spacing_between_slices_mm, planes[0].slice_thickness_mm)
    return tuple(abs(step) for step in declared if step)


def rounded_step_mm(
    planes: Sequence[Plane], heights_mm: NDArray[np.float64], half_unit_mm: float
) -> float | None:
    """The step of rising planes that are evenly spaced up to rounding; None for others.

    `heights_mm` (z,) along the normal, each up to `half_unit_mm` off. It is the declared step where
    that fits.
    """
    step, off = even_line(heights_mm)
    if half_unit_mm == 0 or off > half_unit_mm + _EPSILON_MM:
        return None
    declared = [
        step
        for step in declared_steps_mm(planes)
        if not _is_multiple(step, 2 * half_unit_mm)
        and _spread(heights_mm, step) <= 2 * half_unit_mm + _EPSILON_MM
    ]
    if declared:
        return declared[0] if _without_gap(planes) else None
    # steps of whole units would have been written exactly, so that rounding explains nothing
    nearest = round(step / (2 * half_unit_mm)) * 2 * half_unit_mm
    if _spread(heights_mm, nearest) <= 2 * half_unit_mm + _EPSILON_MM:
        return None
    thickness = planes[0].slice_thickness_mm
    overlapping = thickness is None or thickness > step
    if is_coarse(step, half_unit_mm) and not (overlapping and _in_order_of_numbers(planes)):
        return None
    # least squares: the slope of heights over slice indices n centred on 0, sum(n h) / sum(n n)
    centred = np.arange(len(heights_mm)) - (len(heights_mm) - 1) / 2
    return float(centred @ heights_mm / (centred @ centred))


def places_at(
    heights_mm: NDArray[np.float64], step_mm: float, half_unit_mm: float
) -> NDArray[np.int_] | None:
    """The whole number of steps (z,) from the first slice to each; None where there are none.

    Where rounding leaves a choice, it is the one with the fewest steps.
    """
    candidates: list[NDArray[np.int_]] = []
    # the first slice itself is off by an unknown part of half a unit: 41 offsets are tried
    for offset in np.linspace(-half_unit_mm, half_unit_mm, 41):
        steps = (heights_mm - heights_mm[0] - offset) / step_mm
        places = np.round(steps).astype(int)
        off = np.abs(steps - places).max() * step_mm
        if off <= half_unit_mm + _EPSILON_MM and (np.diff(places) > 0).all():
            candidates.append(places - places[0])
    return min(candidates, key=lambda places: int(places[-1]), default=None)


def is_coarse(step_mm: float, half_unit_mm: float) -> bool:
    """Whether a missing slice can hide in the rounding of positions."""
    return step_mm <= _GAP_SHOWS_UNITS * 2 * half_unit_mm


def even_line(heights_mm: NDArray[np.float64]) -> tuple[float, float]:
    """The even step whose line passes nearest to all heights (z,), and the largest distance.

    Nearest by the largest distance (Chebyshev): for a step s the residuals h - s n can be shifted
    to plus and minus half their range, so that the best s minimises the range. The range is a
    convex function of s: ternary search finds its minimum, 60 rounds shrinking the interval 3e10
    times.
    """
    low, high = float(np.diff(heights_mm).min()), float(np.diff(heights_mm).max())
    for _ in range(60):
        third = (high - low) / 3
        if _spread(heights_mm, low + third) < _spread(heights_mm, high - third):
            high -= third
        else:
            low += third
    step = (low + high) / 2
    return step, _spread(heights_mm, step) / 2


def _spread(heights_mm: NDArray[np.float64], step_mm: float) -> float:
    """The range of what is left of the heights, in mm, behind even steps of `step_mm`."""
    return float(np.ptp(heights_mm - step_mm * np.arange(len(heights_mm))))


def _is_multiple(step_mm: float, unit_mm: float) -> bool:
    return abs(step_mm / unit_mm - round(step_mm / unit_mm)) < _SHARE_OF_MULTIPLE


def _numbers(planes: Sequence[Plane]) -> NDArray[np.int_] | None:
    """Instance or frame numbers in the order of the planes, None where one has none."""
    numbers = [plane.source.frame_number or plane.source.instance_number for plane in planes]
    return None if None in numbers else np.array(numbers)


def _without_gap(planes: Sequence[Plane]) -> bool:
    """Whether the numbers, in whatever order, leave none out; also where there are none."""
    numbers = _numbers(planes)
    return numbers is None or len(set(np.diff(np.sort(numbers)))) == 1


def _in_order_of_numbers(planes: Sequence[Plane]) -> bool:
    numbers = _numbers(planes)
    return numbers is not None and set(np.diff(numbers)) in ({1}, {-1})
