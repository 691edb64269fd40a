"""Structures that exclude each other and yet claim the same voxels: one of them is wrong there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dicom_node.voxels import Voxels

RIVALRY = "at least one of the two is wrong"
"""What a doubt about shared voxels ends with."""

NOTABLE_SHARE = 0.05
"""Of the smaller one's voxels; less is the width of an edge."""


def shared_voxels(masks: Mapping[str, Voxels]) -> dict[str, tuple[str, ...]]:
    """A sentence for each other structure that claims more than 5 % of the smaller one's voxels;
    `masks` by label, on one grid. Structures without such a doubt are left out.
    """
    doubts: dict[str, list[str]] = {}
    labels = list(masks)
    for number, label in enumerate(labels):
        for other in labels[:number]:
            smaller = min(masks[label].count, masks[other].count)
            share = voxels_in_both(masks[label], masks[other]) / smaller if smaller else 0.0
            if share > NOTABLE_SHARE:
                for of, rival in ((label, other), (other, label)):
                    doubts.setdefault(of, []).append(
                        f"{share:.0%} of the smaller one's voxels are also in {rival}: " + RIVALRY
                    )
    return {label: tuple(sentences) for label, sentences in doubts.items()}


def voxels_in_both(one: Voxels, other: Voxels) -> int:
    """How many voxels lie inside both masks, which are on one grid."""
    starts = np.maximum(one.origin, other.origin)
    ends = np.minimum(np.add(one.origin, one.box.shape), np.add(other.origin, other.box.shape))
    if np.any(starts >= ends):
        return 0
    in_one, in_other = (
        mask.box[tuple(map(slice, starts - mask.origin, ends - mask.origin))]
        for mask in (one, other)
    )
    return int(np.count_nonzero(in_one & in_other))
