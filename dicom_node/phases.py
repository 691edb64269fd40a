"""Several volumes at one place under one Series Instance UID (dynamic, multi-echo, 4-D): sort them apart, take one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from dicom_node.errors import NotAVolume
from dicom_node.geometry import Stack, arrange
from dicom_node.plane import Plane, named


def one_phase(planes: Sequence[Plane]) -> Stack | None:
    """The first whole volume that one attribute, or all together, sorts out; None where no attribute does.

    Whole means regular and with a slice wherever the series has one: what only another phase shows is never lost quietly.
    """
    keywords = sorted({keyword for plane in planes for keyword in plane.phase}, key=_order)
    for chosen in [(keyword,) for keyword in keywords] + [tuple(keywords)]:
        groups: dict[tuple[str, ...], list[Plane]] = defaultdict(list)
        for plane in planes:
            groups[tuple(plane.phase.get(keyword, "") for keyword in chosen)].append(plane)
        if len(groups) > 1 and (stack := _first_whole(groups, planes)) is not None:
            return Stack(
                stack.planes,
                stack.affine_zyx_to_lps,
                (*stack.warnings, _told(chosen, groups, stack)),
            )
    return None


def _order(keyword: str) -> tuple[int, str]:
    """What names a phase outright is tried before what merely differs between phases."""
    first = (
        "TemporalPositionIdentifier",
        "TemporalPositionIndex",
        "AcquisitionNumber",
        "FrameAcquisitionNumber",
    )
    return (first.index(keyword) if keyword in first else len(first), keyword)


def _first_whole(
    groups: dict[tuple[str, ...], list[Plane]], planes: Sequence[Plane]
) -> Stack | None:
    for _, group in sorted(
        groups.items(), key=lambda item: [_sortable(value) for value in item[0]]
    ):
        try:
            stack = arrange(group)
        except NotAVolume:
            continue
        if _covers(stack, planes):
            return stack
    return None


def _covers(stack: Stack, planes: Sequence[Plane]) -> bool:
    """Whether the stack has a slice where any plane lies, within a quarter of a step: half a step off is a slice missed."""
    normal = stack.planes[0].normal
    mine = np.array([plane.position_mm for plane in stack.planes]) @ normal
    theirs = np.array([plane.position_mm for plane in planes]) @ normal
    nearest = np.abs(theirs[:, None] - mine).min(axis=1)
    return bool(nearest.max() <= abs(mine[1] - mine[0]) / 4)


def _sortable(value: str) -> tuple[float, str]:
    """Numbers by size, other texts after them."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def _told(chosen: tuple[str, ...], groups: dict[tuple[str, ...], list[Plane]], stack: Stack) -> str:
    by = chosen[0] if len(chosen) == 1 else "several attributes together"
    value = stack.planes[0].phase.get(by)
    which = f"{by} {value}, {named(stack.planes)}" if value else named(stack.planes)
    return f"The series holds {len(groups)} volumes at one place, told apart by {by}: the first whole one ({which}) is used."
