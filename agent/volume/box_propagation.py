"""Objects followed by a segmenter that only draws in a slice: from slice to slice, each from its
neighbour's box.

So a planner for whom every question is dear is asked about key slices and the whole alone. What
such a segmenter cannot know is where an object ends, for it draws something in any box: an object
goes on while what is inside its outline has the grey levels that were outlined first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.episode.tidy import tidy_slice
from agent.ports import (
    ContinueIf,
    Encoding,
    PromptedSlice,
    PropagatedSlice,
    Seed,
    Segmenter,
    Slices,
    VolumeSegmenter,
)
from agent.values import Box, PromptKind, Prompts, Segmentation
from agent.volume.propagation_order import PropagationPath, strands_of, sweep

_LEVELS = 16  # of grey 0..1: 25 HU in the abdomen's window, more than its noise
_LEAST_GROWTH_PX = 2.0
_MOST_GROWTH = 0.15  # of the longer side of the box


class SteppingSegmenter:
    """`segmenter` made to follow objects (agent.ports.VolumeSegmenter); all else is as it is."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter

    @property
    def name(self) -> str:
        """As the segmenter's."""
        return self._segmenter.name

    @property
    def supported_prompts(self) -> frozenset[PromptKind]:
        """As the segmenter's."""
        return self._segmenter.supported_prompts

    def encode(self, image: NDArray[np.float32]) -> Encoding:
        """As the segmenter's."""
        return self._segmenter.encode(image)

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        """As the segmenter's."""
        return self._segmenter.segment(encoding, prompts)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        """As the segmenter's."""
        return self._segmenter.segment_many(asks)

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        """Follow all objects up, then down (agent.ports.VolumeSegmenter), those on a slice in one
        run of the decoder.

        A Followed's score is the share of grey levels (0..1) that the object has in common with its
        outline.
        """
        strands = strands_of(seeds, slices.shape)
        behind = {one: seeds[one.index].masks[one.origin] for one in strands}
        outlined = {one: _levels(slices.image(one.origin)[behind[one]]) for one in strands}

        def draw(z: int, here: Sequence[PropagationPath]) -> list[PropagatedSlice]:
            encoding, image = slices.encoding(z), slices.image(z)
            boxes = [_grown_box(behind[one], slices.spacing_mm) for one in here]
            drawn = self.segment_many([PromptedSlice(encoding, Prompts(box)) for box in boxes])
            for strand, one in zip(here, drawn, strict=True):
                if one.mask.any():
                    behind[strand] = tidy_slice(one.mask)
            return [
                PropagatedSlice(
                    strand.index, z, one, _common(outlined[strand], _levels(image[one.mask]))
                )
                for strand, one in zip(here, drawn, strict=True)
            ]

        yield from sweep(strands, draw, continue_if)


def following(segmenter: Segmenter) -> VolumeSegmenter:
    """The segmenter itself if it follows objects, else made to step from slice to slice."""
    return segmenter if isinstance(segmenter, VolumeSegmenter) else SteppingSegmenter(segmenter)


def _grown_box(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Box:
    """The box for the slice beside `mask`: wider by what an edge at 45 degrees moves from slice to
    slice, within bounds.
    """
    box = Box.around(mask)
    gap_px = spacing_mm[0] / spacing_mm[2]
    most_px = max(_LEAST_GROWTH_PX, _MOST_GROWTH * max(box.x1 - box.x0, box.y1 - box.y0))
    return box.grown(min(max(gap_px, _LEAST_GROWTH_PX), most_px), mask.shape)


def _levels(inside: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shares of grey levels, (levels,) of sum 1; all 0 for nothing."""
    counts, _ = np.histogram(inside, bins=_LEVELS, range=(0.0, 1.0))
    return np.asarray(counts / max(int(counts.sum()), 1))


def _common(some: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    return float(np.minimum(some, others).sum())
