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

_MOST_TRIES = 400  # sets that are tried before the search ends without one
_MOST_LABELS = 4
# Slices thicker than this many of their steps show the same tissue twice: they are no halves of one
# interleaved scan
_OVERLAP = 1.1
_MOST_PASSES = 4

Groups = dict[SetValue, list[Plane]]
"""The planes of each value on an axis."""


@dataclass(frozen=True, eq=False)
class _Split:
    """How one axis splits the planes into sets: all its values, and the chosen one."""

    axis: Axis
    values: tuple[SetValue, ...]
    chosen: SetValue


@dataclass(frozen=True, eq=False)
class _Selection:
    """A whole set: its stack, and the axes that split it from the others."""

    stack: Stack
    splits: tuple[_Split, ...]

    def split_by(self, axis: Axis, groups: Groups, chosen: SetValue) -> _Selection:
        """The same selection, split by one more axis."""
        return replace(self, splits=(_Split(axis, tuple(sorted(groups)), chosen), *self.splits))


def one_set(planes: Sequence[Plane]) -> Stack | None:
    """The first whole volume by the axes of dicom_node.series.image_sets; None if they split none.

    Whole means regular and with a slice wherever the series has one: what only another set shows is
    never lost. That does not hold for another kind of image, which shows something else.
    """
    return _with_warning(_Search(planes).among(planes, _axes(planes)))


def untangled(stack: Stack) -> Stack:
    """The first of several acquisitions whose slices alternate; else the stack itself.

    One interleaved scan stays whole: its slices do not overlap, so that each half lacks what the
    other shows.
    """
    planes = stack.planes
    step = float(np.linalg.norm(stack.affine_zyx_to_lps[:3, 0]))
    thickness = planes[0].slice_thickness_mm
    axes = [axis for axis in _axes(planes) if thickness or not axis.timed]
    woven = [axis for axis in axes if _interleaved([axis.value(plane) for plane in planes])]
    if thickness and thickness <= _OVERLAP * step:
        alternating = [axis.name for axis in woven if not axis.timed]
        return replace(stack, warnings=(*stack.warnings, *map(_completed, alternating[:1])))
    return _with_warning(_Search(planes).split(planes, woven)) or stack


def _completed(name: str) -> str:
    return (
        f"Slices that differ in {name} take turns and do not overlap: they were taken for one "
        "interleaved scan, "
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
            f"The series holds {len(groups)} sets of images at one place, told apart by "
            f"{_axis_text(axis, tuple(sorted(groups)))}. "
            f"The one to take ({_label(axis, min(groups))}{named(first)}) is no volume: {reason}."
        )
    return error


class _Search:
    """Narrows the planes axis by axis until they are a stack."""

    def __init__(self, planes: Sequence[Plane]) -> None:
        self._tries = 0
        self._all = planes

    def among(self, planes: Sequence[Plane], axes: Sequence[Axis]) -> _Selection | None:
        """All of `planes` if they are a whole stack, else a set within them."""
        self._tries += 1
        try:
            stack = arrange(planes)
        except NotAVolume:
            return self.split(planes, axes) if self._tries < _MOST_TRIES else None
        return _Selection(stack, ())

    def split(self, planes: Sequence[Plane], axes: Sequence[Axis]) -> _Selection | None:
        """The first whole set within `planes` by the first axis that leads to one."""
        for place, axis in enumerate(axes):
            groups = _grouped(planes, axis)
            # a value for every slice, such as a time, makes no sets
            if not 2 <= len(groups) <= len(planes) / 2:
                continue
            if axis.kind and _meets(groups):
                return self._first_kind(axis, groups, planes, axes[place + 1 :])
            selection = (
                None if axis.kind else self._first_whole(axis, groups, planes, axes[place + 1 :])
            )
            if selection is not None:
                return selection
        return None

    def _first_kind(
        self, axis: Axis, groups: Groups, planes: Sequence[Plane], axes: Sequence[Axis]
    ) -> _Selection | None:
        """The first kind of image or none: no other kind stands in for it."""
        first = min(groups)
        selection = (
            self.among(groups[first], axes) if _mostly_covers(groups[first], planes) else None
        )
        return None if selection is None else selection.split_by(axis, groups, first)

    def _first_whole(
        self, axis: Axis, groups: Groups, planes: Sequence[Plane], axes: Sequence[Axis]
    ) -> _Selection | None:
        for value in sorted(groups):
            selection = self.among(groups[value], axes) if _covers(groups[value], planes) else None
            if selection is not None:
                return selection.split_by(axis, groups, value)
        return None


def _meets(groups: Groups) -> bool:
    """Whether other kinds of image overlap the first one, not beyond its ends."""
    first = min(groups)
    others = [plane for value, group in groups.items() if value != first for plane in group]
    return bool(_covered(groups[first], others).any() or _covered(others, groups[first]).any())


def _axes(planes: Sequence[Plane]) -> list[Axis]:
    """Axes on which the planes differ, and one of passes over the region where times show some."""
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
    """The pass over the region that each plane, by its id, belongs to.

    Empty where the times do not show several passes, one after the other.
    """
    times = [number_in(plane.phase.get(keyword, "")) for plane in planes]
    if len(planes) < 4 or None in times:
        return {}
    time_values = np.array(times, dtype=np.float64)
    heights = _heights(planes, planes[0].normal)
    # planes sorted by position, those at one position by time; `position` numbers the positions
    order = np.lexsort((time_values, np.round(heights / SAME_POSITION_MM)))
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
        groups.sort(key=lambda group: float(time_values[group].min(initial=np.inf)))
        if all(
            time_values[earlier].max() < time_values[later].min(initial=np.inf)
            for earlier, later in pairwise(groups)
        ):
            return {
                id(planes[index]): SetValue(float(rank), "")
                for rank, group in enumerate(groups)
                for index in group
            }
    return {}


def _interleaved(values: Sequence[SetValue]) -> bool:
    """Whether sets of two or more alternate along the normal instead of following each other."""
    runs = 1 + sum(value != following for value, following in pairwise(values))
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
    """Whether the group shows more than half of what the planes show.

    Another kind of image may reach further; one that lies elsewhere is another region.
    """
    return bool(_covered(group, planes).mean() > 0.5)


def _covered(group: Sequence[Plane], planes: Sequence[Plane]) -> NDArray[np.bool_]:
    """Which planes' tissue the group shows too: the plane overlaps with a slice of the group.

    A plane overlaps where it is at most half a step off (beyond that, the group lacks a slice), and
    always within a quarter (the scanner's own unevenness).
    """
    # the distance of each plane to the nearest slice of the group, both along the normal
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


def _with_warning(selection: _Selection | None) -> Stack | None:
    """The stack with a sentence on how many sets there are, and which was chosen."""
    if selection is None or not selection.splits:
        return None
    stack = selection.stack
    count = int(np.prod([len(split.values) for split in selection.splits]))
    by = ", then ".join(_axis_text(split.axis, split.values) for split in selection.splits)
    labels = "".join(_label(split.axis, split.chosen) for split in selection.splits)
    sentence = (
        f"The series holds {count} volumes at one place, told apart by {by}: "
        f"the first whole one ({labels}{named(stack.planes)}) is used."
    )
    return replace(stack, warnings=(*stack.warnings, sentence))


def _axis_text(axis: Axis, values: Sequence[SetValue]) -> str:
    """The axis and its first values: "component (magnitude, real, imaginary, phase)"."""
    labels = [value.label for value in values if value.label]
    if not labels:
        return axis.name
    more = f" and {len(labels) - _MOST_LABELS} more" if len(labels) > _MOST_LABELS else ""
    return f"{axis.name} ({', '.join(labels[:_MOST_LABELS])}{more})"


def _label(axis: Axis, value: SetValue) -> str:
    """The chosen value of an axis, written before the instances' names."""
    if not value.label:
        return ""
    return f"{value.label}, " if axis.kind else f"{axis.name} {value.label}, "
