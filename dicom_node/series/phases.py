"""Several volumes at one place in one series (components, echoes, phases, 4-D): take one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import NotAVolume
from dicom_node.series.geometry import SAME_POSITION_MM, Stack, arrange
from dicom_node.series.image_sets import AXES, TIMES, Axis, SetValue
from dicom_node.series.plane import Plane, named, number_in

_MOST_TRIES = 400  # sets that are looked at before nothing is found
_MOST_LABELS = 4
# Slices thicker than this many of their steps show the same tissue twice: they are no halves of one
# interleaved scan
_OVERLAP = 1.1
_MOST_PASSES = 4

Groups = dict[SetValue, list[Plane]]
"""The planes of each value on an axis."""


@dataclass(frozen=True, eq=False)
class _Split:
    """How one axis told sets apart: all its values, and the one that was taken."""

    axis: Axis
    values: tuple[SetValue, ...]
    taken: SetValue


@dataclass(frozen=True, eq=False)
class _Found:
    """A whole set: its stack, and by which axes it was told from the others."""

    stack: Stack
    splits: tuple[_Split, ...]

    def told_by(self, axis: Axis, groups: Groups, taken: SetValue) -> _Found:
        """The same, found on one more axis."""
        return replace(self, splits=(_Split(axis, tuple(sorted(groups)), taken), *self.splits))


def one_set(planes: Sequence[Plane]) -> Stack | None:
    """The first whole volume by the axes of dicom_node.series.image_sets; None if they split none.

    Whole means regular and with a slice wherever the series has one: what only another set shows is
    never lost. That does not hold for another kind of image, which shows something else.
    """
    return _told(_Search(planes).among(planes, _axes(planes)))


def untangled(stack: Stack) -> Stack:
    """The first of several acquisitions whose slices lie between one another's.

    Else the stack itself.

    One interleaved scan is no such thing: its slices do not overlap, so that each half lacks what
    the other shows.
    """
    planes = stack.planes
    step = float(np.linalg.norm(stack.affine_zyx_to_lps[:3, 0]))
    thickness = planes[0].slice_thickness_mm
    axes = [axis for axis in _axes(planes) if thickness or not axis.timed]
    woven = [axis for axis in axes if _interleaved([axis.value(plane) for plane in planes])]
    if thickness and thickness <= _OVERLAP * step:
        alternating = [axis.name for axis in woven if not axis.timed]
        return replace(stack, warnings=(*stack.warnings, *map(_completed, alternating[:1])))
    return _told(_Search(planes).split(planes, woven)) or stack


def _completed(name: str) -> str:
    return (
        f"Slices that differ in {name} take turns and do not overlap: they were taken for one interleaved scan, "
        "each part filling the gaps of the others."
    )


def why_none(planes: Sequence[Plane], error: NotAVolume) -> NotAVolume:
    """The error of the set that would be taken, where sets can be told apart; else `error`."""
    heights = np.sort(_heights(planes, planes[0].normal))
    if np.diff(heights).min(initial=np.inf) > SAME_POSITION_MM:
        return error
    for axis in _axes(planes):
        groups = _grouped(planes, axis)
        first = groups[min(groups)]
        if len(groups) < 2 or not _mostly_covers(first, planes):
            continue
        try:
            arrange(first)
            reason = "it lacks slices where others have some"
        except NotAVolume as fault:
            reason = str(fault).rstrip(".")
        return NotAVolume(
            f"The series holds {len(groups)} sets of images at one place, told apart by {_axis_text(axis, tuple(sorted(groups)))}. "
            f"The one to take ({_label(axis, min(groups))}{named(first)}) is no volume: {reason}."
        )
    return error


class _Search:
    """Narrows the planes axis by axis until they are a stack."""

    def __init__(self, planes: Sequence[Plane]) -> None:
        self._tries = 0
        self._all = planes

    def among(self, planes: Sequence[Plane], axes: Sequence[Axis]) -> _Found | None:
        """`planes` themselves if they are a whole stack, else a set within them."""
        self._tries += 1
        try:
            stack = arrange(planes)
        except NotAVolume:
            return self.split(planes, axes) if self._tries < _MOST_TRIES else None
        return _Found(stack, ())

    def split(self, planes: Sequence[Plane], axes: Sequence[Axis]) -> _Found | None:
        """The first whole set within `planes` by the first axis that leads to one."""
        for place, axis in enumerate(axes):
            groups = _grouped(planes, axis)
            if (
                not 2 <= len(groups) <= len(planes) / 2
            ):  # a time for every slice, say, makes no sets
                continue
            if axis.kind and _meets(groups):
                return self._first_kind(axis, groups, planes, axes[place + 1 :])
            found = (
                None if axis.kind else self._first_whole(axis, groups, planes, axes[place + 1 :])
            )
            if found is not None:
                return found
        return None

    def _first_kind(
        self, axis: Axis, groups: Groups, planes: Sequence[Plane], axes: Sequence[Axis]
    ) -> _Found | None:
        """The first kind of image or none: no other kind stands in for it."""
        first = min(groups)
        found = self.among(groups[first], axes) if _mostly_covers(groups[first], planes) else None
        return None if found is None else found.told_by(axis, groups, first)

    def _first_whole(
        self, axis: Axis, groups: Groups, planes: Sequence[Plane], axes: Sequence[Axis]
    ) -> _Found | None:
        for value in sorted(groups):
            found = self.among(groups[value], axes) if _covers(groups[value], planes) else None
            if found is not None:
                return found.told_by(axis, groups, value)
        return None


def _meets(groups: Groups) -> bool:
    """Whether other kinds of image lie where the first one does, instead of before or behind it."""
    first = min(groups)
    others = [plane for value, group in groups.items() if value != first for plane in group]
    return bool(_covered(groups[first], others).any() or _covered(others, groups[first]).any())


def _axes(planes: Sequence[Plane]) -> list[Axis]:
    """Those on which the planes differ, and the order of passes by time where it shows one."""
    axes = [axis for axis in AXES if len({axis.value(plane) for plane in planes}) > 1]
    for keyword in TIMES:
        passes = _passes(planes, keyword)
        if passes:
            axes.append(_pass_axis(keyword, passes))
            break
    return axes


def _pass_axis(name: str, passes: Mapping[int, SetValue]) -> Axis:
    def value(plane: Plane) -> SetValue:
        return passes[id(plane)]

    return Axis(name, value, timed=True)


def _passes(planes: Sequence[Plane], keyword: str) -> dict[int, SetValue]:
    """Which time over the region each plane (by its id) belongs to.

    Empty where times do not show several, one after the other.
    """
    times = [number_in(plane.phase.get(keyword, "")) for plane in planes]
    if len(planes) < 4 or None in times:
        return {}
    known = np.array(times, dtype=np.float64)
    heights = _heights(planes, planes[0].normal)
    order = np.lexsort((known, np.round(heights / SAME_POSITION_MM)))
    position = np.cumsum(np.diff(heights[order], prepend=-np.inf) > SAME_POSITION_MM) - 1
    counts = np.bincount(position)
    if counts[0] > 1 and (counts == counts[0]).all():
        candidates = [np.arange(len(planes)) % counts[0]]  # at each position, by time
    elif counts.max() == 1:
        candidates = [np.arange(len(planes)) % every for every in range(2, _MOST_PASSES + 1)]
    else:
        return {}
    for places in candidates:
        groups = [order[places == number] for number in range(int(places.max()) + 1)]
        groups.sort(key=lambda group: float(known[group].min(initial=np.inf)))
        if all(
            known[one].max() < known[other].min(initial=np.inf) for one, other in pairwise(groups)
        ):
            return {
                id(planes[index]): SetValue(float(rank), "")
                for rank, group in enumerate(groups)
                for index in group
            }
    return {}


def _interleaved(values: Sequence[SetValue]) -> bool:
    """Whether sets of two or more alternate along the normal instead of following each other."""
    runs = 1 + sum(one != other for one, other in pairwise(values))
    return 1 < len(set(values)) < runs and 2 * len(set(values)) <= len(values)


def _grouped(planes: Sequence[Plane], axis: Axis) -> Groups:
    groups: Groups = defaultdict(list)
    for plane in planes:
        groups[axis.value(plane)].append(plane)
    return dict(groups)


def _heights(planes: Sequence[Plane], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.array([plane.position_mm for plane in planes]) @ normal)


def _covers(group: Sequence[Plane], planes: Sequence[Plane]) -> bool:
    return bool(_covered(group, planes).all())


def _mostly_covers(group: Sequence[Plane], planes: Sequence[Plane]) -> bool:
    """Another kind of image may reach further.

    What lies elsewhere altogether is no other kind of the same.
    """
    return bool(_covered(group, planes).mean() > 0.5)


def _covered(group: Sequence[Plane], planes: Sequence[Plane]) -> NDArray[np.bool_]:
    """Which planes' tissue the group shows too: the plane overlaps with a slice of the group.

    At most half a step off (beyond, there is a slice too few), and a quarter always (the scanner's
    own unevenness).
    """
    normal = planes[0].normal
    theirs = _heights(planes, normal)
    mine = np.unique(np.round(_heights(group, normal) / SAME_POSITION_MM)) * SAME_POSITION_MM
    if mine.size < 2:
        return np.zeros(len(planes), dtype=bool)
    step = float(np.median(np.diff(mine)))
    overlap = (group[0].slice_thickness_mm or step) / _OVERLAP
    place = np.clip(np.searchsorted(mine, theirs), 1, mine.size - 1)
    off = np.minimum(np.abs(theirs - mine[place - 1]), np.abs(theirs - mine[place]))
    return np.asarray(off <= max(min(overlap, step / 2), step / 4) + 2 * SAME_POSITION_MM)


def _told(found: _Found | None) -> Stack | None:
    """The stack with a sentence that says of how many sets it is which."""
    if found is None or not found.splits:
        return None
    stack = found.stack
    count = int(np.prod([len(split.values) for split in found.splits]))
    by = ", then ".join(_axis_text(split.axis, split.values) for split in found.splits)
    labels = "".join(_label(split.axis, split.taken) for split in found.splits)
    sentence = (
        f"The series holds {count} volumes at one place, told apart by {by}: "
        f"the first whole one ({labels}{named(stack.planes)}) is used."
    )
    return replace(stack, warnings=(*stack.warnings, sentence))


def _axis_text(axis: Axis, values: Sequence[SetValue]) -> str:
    """Its name, and the first of its values: "component (magnitude, real, imaginary, phase)"."""
    labels = [value.label for value in values if value.label]
    if not labels:
        return axis.name
    more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
    return f"{axis.name} ({', '.join(labels[:_MOST_LABELS])}{more})"


def _label(axis: Axis, value: SetValue) -> str:
    """What was taken on an axis, to stand before the instances' names."""
    if not value.label:
        return ""
    return f"{value.label}, " if axis.kind else f"{axis.name} {value.label}, "
