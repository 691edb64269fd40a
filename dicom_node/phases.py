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

    Whole means regular and as long and high as any other group: slices that only one phase has are never lost quietly.
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
    most = max(len(group) for group in groups.values())
    for _, group in sorted(
        groups.items(), key=lambda item: [_sortable(value) for value in item[0]]
    ):
        if len(group) < most:
            continue
        try:
            stack = arrange(group)
        except NotAVolume:
            continue
        if _spans(stack, planes):
            return stack
    return None


def _spans(stack: Stack, planes: Sequence[Plane]) -> bool:
    """Whether the stack reaches as far along its normal as all planes do, within half a step."""
    normal = stack.planes[0].normal
    mine = np.array([plane.position_mm for plane in stack.planes]) @ normal
    all_ = np.array([plane.position_mm for plane in planes]) @ normal
    half_step = abs(mine[1] - mine[0]) / 2
    return bool(mine.min() - all_.min() <= half_step and all_.max() - mine.max() <= half_step)


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
