"""From image planes to a grid: sorted along the slice normal, refused unless a regular stack.

The rules, in the order they are judged (all lengths in mm, positions and directions in LPS, PS3.3
C.7.6.2.1.1): directions are a right-angled pair; no two planes at one position; all lie on one
straight line, which is the normal (no shift, no gantry tilt); no step is a multiple of the others
(a missing slice), and each slice lies at its place on the line with even steps through all of them.
What rounding has moved (dicom_node.series.rounding) is moved back by that line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import NotAVolume
from dicom_node.series.plane import Plane, named
from dicom_node.series.rounding import (
    Rounding,
    declared_steps_mm,
    is_coarse,
    places_at,
    rounded_step_mm,
)

SAME_POSITION_MM = 0.01
SAME_DIRECTION_DEG = 0.1  # 0.9 mm at the end of a 500 mm row
MOST_TILT_DEG = 0.5
_MOST_SHIFT_MM = 0.5
_MOST_GAPS = 0.7  # of all steps; with more of them, it is the short step that is odd
_EVEN_FRACTION, _EVEN_MM, _EVEN_MOST_FRACTION = 0.05, 0.1, 0.2


@dataclass(frozen=True, eq=False)
class Stack:
    """A regular stack: `planes` in rising order along the normal.

    `affine_zyx_to_lps` (4, 4) maps (z, y, x, 1), voxel centres, to (x, y, z, 1) LPS mm.
    """

    planes: tuple[Plane, ...]
    affine_zyx_to_lps: NDArray[np.float64]
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        return (len(self.planes), *self.planes[0].shape)


def angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Angle between two directions, 0..180 degrees, exact for small angles too.

    |a x b| = |a||b| sin and a . b = |a||b| cos; atan2 of the two keeps its digits near 0, where the
    arc cosine loses half of them.
    """
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))


def same_orientation(first: Plane, second: Plane) -> bool:
    """Whether rows and columns run the same way, within SAME_DIRECTION_DEG."""
    if first.orientation == second.orientation:
        return True
    turn = max(
        angle_deg(first.row_direction, second.row_direction),
        angle_deg(first.column_direction, second.column_direction),
    )
    return turn <= SAME_DIRECTION_DEG


def even_tolerance_mm(step_mm: float) -> float:
    """The tolerance of a slice's place: 5 % of the step or 0.1 mm, at most a fifth of the step."""
    return min(max(_EVEN_FRACTION * step_mm, _EVEN_MM), _EVEN_MOST_FRACTION * step_mm)


def arrange(planes: Sequence[Plane]) -> Stack:
    """Sort planes of one orientation, matrix and spacing into a stack.

    NotAVolume says why they make none.
    """
    if len(planes) < 2:
        raise NotAVolume(
            f"There is only one slice ({named(planes)}): a volume needs at least two. Send the "
            "whole series."
        )
    normal = planes[0].normal
    ordered = sorted(planes, key=lambda plane: float(normal @ plane.position_mm))
    positions = np.array([plane.position_mm for plane in ordered], dtype=np.float64)
    rounding = Rounding.of(positions)
    across_mm = rounding.across(normal)
    heights = positions @ normal
    _refuse_shared_positions(ordered, heights, rounding)
    aside = positions - np.outer(heights, normal)
    shear, off_line = _line(heights, aside)
    # rounding moves a slice by up to `across_mm`, and the line through all by as much
    _refuse_sideways(ordered, np.diff(aside, axis=0), off_line, max(_MOST_SHIFT_MM, 2 * across_mm))
    _refuse_tilt(ordered, *_tilt_deg(heights, shear, across_mm))
    step, first = (positions[-1] - positions[0]) / (len(ordered) - 1), positions[0]
    rounded_mm = rounded_step_mm(ordered, heights, rounding.along(normal))
    if rounded_mm is not None:
        step = rounded_mm * normal
        # the mean position keeps its place: rounding errors cancel in it
        first = positions.mean(axis=0) - step * (len(ordered) - 1) / 2
    else:
        _refuse_gaps(ordered, heights, rounding.along(normal))
        _refuse_uneven(ordered, heights, rounding)
    return Stack(tuple(ordered), _affine(ordered[0], step, first), _stack_warnings(ordered, step))


def _even_positions(
    positions: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The step (3,) and first position (3,) of the evenly spaced line nearest to all (z, 3)."""
    # least squares: with indices n centred on 0 the slope is sum(n p) / sum(n n), and the line
    # passes through the mean position
    centred = np.arange(len(positions)) - (len(positions) - 1) / 2
    step = centred @ positions / (centred @ centred)
    return step, positions.mean(axis=0) + centred[0] * step


def _line(
    heights: NDArray[np.float64], aside: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The line through sideways positions `aside` (z, 3): slope per mm (3,), distances (z,)."""
    # least squares in each of x, y and z: slope = sum(h a) / sum(h h) with heights h centred on 0
    centred = heights - heights.mean()
    slope = centred @ aside / (centred @ centred)
    off = aside - aside.mean(axis=0) - np.outer(centred, slope)
    return slope, np.linalg.norm(off, axis=1)


def refuse_bad_directions(planes: Sequence[Plane]) -> None:
    """NotAVolume unless the cosines are orthonormal and the numbers finite and positive."""
    bad = [plane for plane in planes if not _plausible(plane)]
    if bad:
        raise NotAVolume(
            f"Image Orientation (Patient) or Pixel Spacing of {named(bad)} cannot be right: the "
            "two directions must be "
            "unit vectors at a right angle, the spacing two positive numbers. Export the series "
            "again from the scanner."
        )


def _plausible(plane: Plane) -> bool:
    if not np.isfinite([*plane.position_mm, *plane.orientation, *plane.pixel_spacing_mm]).all():
        return False
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    unit = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1)) < 0.01
    return bool(unit and abs(row @ column) < 0.01 and min(plane.pixel_spacing_mm) > 0)


def _affine(
    first: Plane, step: NDArray[np.float64], position: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(4, 4) from (z, y, x, 1) to LPS mm (PS3.3 equation C.7.6.2.1-1, with z first).

    Pixel Spacing is (between rows, between columns): y steps down the column direction by the
    first, x along the row direction by the second.
    """
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = first.column_direction * first.pixel_spacing_mm[0]
    affine[:3, 2] = first.row_direction * first.pixel_spacing_mm[1]
    affine[:3, 3] = position
    return affine


def _refuse_shared_positions(
    ordered: Sequence[Plane], heights: NDArray[np.float64], rounding: Rounding
) -> None:
    close = np.diff(heights) < SAME_POSITION_MM
    if not close.any():
        return
    shared = [plane for z, plane in enumerate(ordered) if close[max(z - 1, 0) : z + 1].any()]
    finest = min(declared_steps_mm(ordered), default=math.inf)
    if finest < rounding.unit_mm:
        raise NotAVolume(
            f"Positions are written to {rounding.unit_mm:g} mm, more coarsely than the slices lie "
            f"apart ({finest:g} mm), so that "
            f"several share one ({named(shared)}): their places cannot be told. Export the series "
            "again with positions in full."
        )
    raise NotAVolume(
        f"Several images lie at one position ({named(shared)}), and nothing in their headers "
        "(component, echo, b-value, phase, "
        "temporal position, acquisition, time) sorts them into whole volumes. Send one set of "
        "them, or each as a series of its own."
    )


def _tilt_deg(
    heights: NDArray[np.float64], shear: NDArray[np.float64], across_mm: float
) -> tuple[float, float]:
    """How far the stack leans off its normal, and how much of that rounding can explain."""
    # the slope is sum(h a) / sum(h h); errors of at most `across_mm` in each a, all with the worst
    # sign, move it by across_mm sum|h| / sum(h h)
    centred = np.abs(heights - heights.mean())
    by_rounding = across_mm * centred.sum() / (centred @ centred)
    tilt = math.degrees(math.atan(float(np.linalg.norm(shear))))
    return tilt, math.degrees(math.atan(float(by_rounding)))


def _refuse_tilt(ordered: Sequence[Plane], tilt_deg: float, by_rounding_deg: float) -> None:
    """Refuse a gantry tilt that the positions show.

    One that the header alone states counts where the positions were written as if it were none.
    """
    stated_tilt_deg = max((abs(plane.gantry_tilt_deg or 0.0) for plane in ordered), default=0.0)
    if tilt_deg > MOST_TILT_DEG + by_rounding_deg:
        reason = (
            f"the slices of {named(ordered)} are stacked {tilt_deg:.1f} degrees off their normal"
        )
    elif stated_tilt_deg > MOST_TILT_DEG and not ordered[0].derived:
        reason = f"Gantry/Detector Tilt of {named(ordered)} is {stated_tilt_deg:.1f} degrees"
    else:
        return
    raise NotAVolume(
        f"The gantry was tilted: {reason}, so that the grid is sheared. "
        "Send a reconstruction without tilt (a straight reformat of the same scan)."
    )


def _refuse_uneven(
    ordered: Sequence[Plane], heights: NDArray[np.float64], rounding: Rounding
) -> None:
    """Refuse a slice that is off its place on the line with even steps through all of them."""
    steps, usual = np.diff(heights), float(np.median(np.diff(heights)))
    step, first = _even_positions(heights[:, None])
    off = np.abs(heights - first[0] - step[0] * np.arange(len(heights)))
    tolerance = even_tolerance_mm(min(usual, float(step[0])))
    if off.max() <= tolerance:
        return
    odd = np.abs(steps - usual) > tolerance
    odd = odd if odd.any() else np.abs(steps - usual) == np.abs(steps - usual).max()
    unit = rounding.unit_mm
    rounded = f" (positions are written to {unit:g} mm, which does not explain it)" if unit else ""
    raise NotAVolume(
        f"The slices are unevenly spaced, {steps.min():.2f} to {steps.max():.2f} mm "
        f"apart{rounded}: "
        f"{_between(ordered, steps, odd)}, where {usual:.2f} mm is usual. Send a reconstruction "
        "with even steps."
    )


def _refuse_gaps(
    ordered: Sequence[Plane], heights: NDArray[np.float64], half_unit_mm: float
) -> None:
    """Refuse where all steps are whole multiples of the usual one, enough of them the usual one."""
    steps = np.diff(heights)
    usual, multiples = _steps_of_usual(ordered, heights, half_unit_mm)
    gaps = multiples > 1
    if gaps.any() and gaps.mean() <= _MOST_GAPS:
        missing = int((multiples - 1).sum())
        raise NotAVolume(
            f"{missing} slice{'s are' if missing > 1 else ' is'} missing: "
            f"{_between(ordered, steps, gaps)}, where the others "
            f"are {usual:.2f} mm apart. Send the series again in full."
        )


def _steps_of_usual(
    ordered: Sequence[Plane], heights: NDArray[np.float64], half_unit_mm: float
) -> tuple[float, NDArray[np.int_]]:
    """The usual step in mm, and each step as a multiple of it (z - 1,); ones if they are none.

    The usual step is the declared one where positions are rounded too coarsely to see it in them,
    else the shortest.
    """
    steps = np.diff(heights)
    rounding_mm = 0.0  # how much rounding may add to a step
    if half_unit_mm and is_coarse(float(steps.min()), half_unit_mm):
        for declared in declared_steps_mm(ordered):
            places = places_at(heights, declared, half_unit_mm)
            if places is not None:
                return declared, np.diff(places)
    else:
        rounding_mm = 2 * half_unit_mm
    shortest = steps[steps <= steps.min() + even_tolerance_mm(float(steps.min())) + rounding_mm]
    usual = float(shortest.mean())
    multiples = np.round(steps / usual).astype(int)
    whole = np.abs(steps - multiples * usual) <= even_tolerance_mm(usual) + rounding_mm
    return usual, multiples if whole.all() else np.ones_like(multiples)


def _between(ordered: Sequence[Plane], steps: NDArray[np.float64], which: NDArray[np.bool_]) -> str:
    """The places in the series of the first few steps that `which` (z - 1,) marks."""
    places = np.flatnonzero(which)
    texts = [
        f"{steps[z]:.2f} mm between {named([ordered[z]])} and {named([ordered[z + 1]])}"
        for z in places[:4]
    ]
    more = f" and at {len(places) - 4} more places" if len(places) > 4 else ""
    return ", ".join(texts) + more


def _refuse_sideways(
    ordered: Sequence[Plane],
    steps_aside: NDArray[np.float64],
    off_line: NDArray[np.float64],
    most_mm: float,
) -> None:
    """Refuse slices farther than `most_mm` from the straight line through all of them.

    `steps_aside` (z - 1, 3) are the sideways steps, `off_line` (z,) the distances, both in mm.
    """
    if off_line.max() <= most_mm:
        return
    jumps = np.linalg.norm(steps_aside - np.median(steps_aside, axis=0), axis=1)
    raise NotAVolume(
        "Slices are shifted sideways against the others: "
        f"{_between(ordered, jumps, jumps > jumps.max() / 2)}. "
        "They may come from two scans: send each as a series of its own."
    )


def _stack_warnings(ordered: Sequence[Plane], step: NDArray[np.float64]) -> tuple[str, ...]:
    warnings = []
    thickness, distance = ordered[0].slice_thickness_mm, float(np.linalg.norm(step))
    if thickness and distance > 1.5 * thickness:
        warnings.append(
            f"Slices are {distance:.2f} mm apart but {thickness:.2f} mm thick: what lies between "
            "them was not imaged."
        )
    stated_tilt_deg = max(abs(plane.gantry_tilt_deg or 0.0) for plane in ordered)
    if stated_tilt_deg > MOST_TILT_DEG:
        warnings.append(
            f"Gantry/Detector Tilt says {stated_tilt_deg:.1f} degrees, but this is a derived, "
            "straight stack: it is taken as one."
        )
    return tuple(warnings)
