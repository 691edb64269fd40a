"""What a reader has to do on a slice of a volume, and what serving shows there before the first
action: nothing, a neighbour's outline, or a mask that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.episode.state import Objection, no_objection
from agent.limits import Limits
from agent.ports import Observation, Slices
from agent.training.clicks import iou
from agent.values import Role, Segmentation, Target
from agent.volume.assessment import NAMED
from agent.volume.between import between
from agent.volume.neighbours import Neighbourhood, adjacent

Mask2D = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SliceTask:
    """Slice `z`, to be drawn as `truth` (rows, columns) bool says; empty where the structure is
    absent.

    `role` as in serving. `opening` is the mask that a review begins with, `carried` what the
    neighbours suggest, `object_outline` what lies on the others of an object that was looked over;
    `behind` are the masks that slice was reached from, the nearest first: one
    that drifts from all of them is not kept. All are (rows, columns) bool.
    """

    z: int
    truth: Mask2D
    role: Role = Role.KEY
    opening: Mask2D | None = None
    carried: Mask2D | None = None
    behind: tuple[Mask2D, ...] = ()
    object_outline: Mask2D | None = None

    def start(self, target: Target, slices: Slices) -> Observation:
        """What the policy is shown before its first turn."""
        latest = None if self.opening is None else Segmentation.of_mask(self.opening)
        doubt = NAMED if self.role is Role.REVIEW else ""
        return Observation(
            target,
            slices,
            self.z,
            self.role,
            latest=latest,
            carried=self.carried,
            doubt=doubt,
            object_outline=self.object_outline,
        )

    def objection(self, limits: Limits, slices: Slices) -> Objection:
        """What serving has against a mask here, whatever its score."""
        if not self.behind:
            return no_objection
        neighbourhood = Neighbourhood.of(limits, slices.spacing_mm)
        return lambda segmentation: neighbourhood.drift(segmentation.mask, self.behind)


def redrawn(masks: Iterable[Mask2D], z: int, truth: Mask2D) -> SliceTask:
    """Slice `z` of the object whose `masks` (rows, columns) bool are given for all slices, to be
    drawn anew as `truth` says.

    As in serving what its neighbours suggest is shown beside; where nothing is drawn on it and on
    no neighbour either, it is a slice like any other.
    """
    drawn = {n: mask for n, mask in enumerate(masks) if mask.any()}
    opening, around = drawn.pop(z, None), adjacent(drawn, z)
    outline = np.any(list(drawn.values()), axis=0) if drawn else None
    if opening is None and not around:
        return SliceTask(z, truth)
    carried = between(*around) if len(around) == 2 else (around[0] if around else None)
    return SliceTask(z, truth, Role.REVIEW, opening, carried, object_outline=outline)


def carried_to(voxels: NDArray[np.bool_], z: int, step: int, carried: Mask2D) -> SliceTask:
    """Slice `z` of the structure `voxels` (z, y, x) bool as it is reached from slice `z` - `step`,
    where the mask `carried` (rows, columns) bool, not empty, was drawn.
    """
    further = z - 2 * step
    known = 0 <= further < len(voxels) and voxels[further].any()
    behind = (carried, voxels[further]) if known else (carried,)
    return SliceTask(z, voxels[z], Role.CARRY, carried=carried, behind=behind)


def corrected_slices(
    truth: NDArray[np.bool_], drawn: NDArray[np.bool_], satisfied_iou: float
) -> list[SliceTask]:
    """The slices of the object `drawn` whose IoU with the reader's `truth`, both (z, y, x) bool, is
    below `satisfied_iou`, the worst first; each is shown beside those that are right by then.
    """
    wrong = {z: mask for z, mask in enumerate(drawn) if iou(mask, truth[z]) < satisfied_iou}
    tasks, corrected = [], list(drawn)
    for z in worst_first(wrong, truth):
        tasks.append(redrawn(corrected, z, truth[z]))
        corrected[z] = truth[z]
    return tasks


def reached_slices(present: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The slices beside those on which a structure is `present` (z,) bool, each with the step, -1
    or 1, by which it is reached from its neighbour.
    """
    places = ((z, step) for z in range(len(present)) for step in (-1, 1))
    return [(z, step) for z, step in places if 0 <= z - step < len(present) and present[z - step]]


def worst_first(
    wrong: Mapping[int, NDArray[np.bool_]], voxels: NDArray[np.bool_]
) -> tuple[int, ...]:
    """The slices of `wrong` masks (rows, columns) bool in the order of their IoU with the truth
    `voxels` (z, y, x) bool, the lowest first, the lower slice first among equals.
    """
    return tuple(sorted(wrong, key=lambda z: (iou(wrong[z], voxels[z]), z)))
