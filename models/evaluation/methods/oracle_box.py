"""The baseline of the ideal box: drawn round the truth, in one turn, into the same segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.actions import Absent, AddBox, Stop
from agent.knowledge import ANYTHING, Knowledge
from agent.ports import Assessment, Localisation, Observation, Reply, Slices
from agent.values import Box, Segmentation, Target

MARGIN_PX = 3.0
"""The box is drawn this far outside the truth, as a careful hand does."""


@dataclass(frozen=True, eq=False)
class OracleBox:
    """A policy (agent.ports.Policy) that knows the `truths` (z, y, x) bool on the working grid, by
    the target's text: a box round what is on the slice, then stop.

    It names the largest slice of each part that lies apart along z; a segmenter that follows
    objects goes on from there, any other is given a box on each slice.
    """

    truths: Mapping[str, NDArray[np.bool_]]
    name: str = "oracle-box"
    knowledge: Knowledge = ANYTHING  # every target is known whose truth is

    def localise(self, target: Target, slices: Slices) -> Localisation:  # noqa: ARG002 - it knows
        """The largest slice of each part."""
        areas = self.truths[target.text].sum(axis=(1, 2))
        labels, count = ndimage.label(areas > 0)
        largest = [
            int(np.argmax(np.where(labels == part, areas, 0))) for part in range(1, count + 1)
        ]
        keys = tuple(sorted(largest, key=lambda z: -int(areas[z])))
        return Localisation(tuple(map(float, areas > 0)), keys, "the truth says so")

    def act(self, observation: Observation) -> Reply:
        """The box, then stop; absent where the truth is not."""
        truth = self.truths[observation.target.text][observation.slice_index]
        if not truth.any():
            return Reply(Absent("the truth is not on this slice"))
        if observation.turns:
            return Reply(Stop())
        return Reply(AddBox(Box.around(truth).grown(MARGIN_PX, truth.shape)))

    def score(
        self,
        observation: Observation,  # noqa: ARG002 - one box, one mask: nothing to choose from
        segmentation: Segmentation,
    ) -> float:
        """The segmenter's own estimate."""
        return segmentation.predicted_iou

    def assess(
        self,
        target: Target,  # noqa: ARG002 - a box is all it has to say
        slices: Slices,  # noqa: ARG002
        voxels: NDArray[np.bool_],  # noqa: ARG002
    ) -> Assessment:
        """Nothing to correct."""
        return Assessment()
