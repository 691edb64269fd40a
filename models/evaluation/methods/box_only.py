"""The baseline of boxes only: the same policy before a segmenter that refuses clicks and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.ports import (
    ContinueIf,
    Encoding,
    PromptedSlice,
    PropagatedSlice,
    Seed,
    Segmenter,
    Slices,
    VolumePrompter,
    VolumeSegmenter,
)
from agent.values import (
    PromptKind,
    Prompts,
    Segmentation,
    VolumePrompts,
    VolumeSegmentation,
)

BOXES = frozenset({PromptKind.BOX})


class BoxOnly:
    """`segmenter` (agent.ports.Segmenter), which takes boxes and nothing else."""

    supported_prompts = BOXES

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    @property
    def name(self) -> str:
        """As the segmenter's."""
        return self._segmenter.name

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        """As the segmenter's."""
        return self._segmenter.encode(image)

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """As the segmenter's."""
        return self._segmenter.segment(encoding, prompts)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """As the segmenter's."""
        return self._segmenter.segment_many(asks)


class BoxOnlyFollower(BoxOnly):
    """The same of a segmenter that follows objects (agent.ports.VolumeSegmenter)."""

    def __init__(self, segmenter: VolumeSegmenter) -> None:
        super().__init__(segmenter)
        self._follower = segmenter

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        """As the segmenter's."""
        return self._follower.propagate(slices, seeds, continue_if)


class BoxOnlyPrompter(BoxOnly):
    """The same of a segmenter that draws whole objects (agent.ports.VolumePrompter)."""

    def __init__(self, segmenter: VolumePrompter) -> None:
        super().__init__(segmenter)
        self._prompter = segmenter

    def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
        """As the segmenter's."""
        return self._prompter.segment_volume(slices, prompts)


def box_only(segmenter: Segmenter) -> Segmenter:
    """The segmenter that takes boxes only; the very same where it takes nothing else already."""
    if segmenter.supported_prompts == BOXES:
        return segmenter
    if isinstance(segmenter, VolumePrompter):
        return BoxOnlyPrompter(segmenter)
    if isinstance(segmenter, VolumeSegmenter):
        return BoxOnlyFollower(segmenter)
    return BoxOnly(segmenter)
