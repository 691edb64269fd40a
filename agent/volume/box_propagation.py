"""Propagation with a 2-D segmenter: each slice is drawn in the box of its neighbour's mask.

It spares a policy that is slow or costly to ask, which then works on key slices and assesses the
whole only. A 2-D segmenter draws something in any box, so it cannot tell where an object ends;
an object goes on while the grey levels inside its mask are those of its first outline, and its
mask lies where that of the slice before does: both measures together, as their product, are at
least 0.5.

The box grows from slice to slice by what an edge at 45 degrees moves, the slice distance in pixels,
at least 2 px and at most the larger of 2 px and 15 % of its longer side. The score compares
histograms of grey levels p and q, each of sum 1, by their intersection sum(min(p, q)): 1 for equal
ones, 0 for disjoint ones.

Where a mask lies is compared by the share of both masks within an edge's way at 45 degrees of the
other. The measure was chosen among 12, and the bound between 0.4 and 0.6, on 31 structures in CT at
2 and at 4 mm, four left atria, four lesions and a brain tumour, followed by LiteMedSAM from a box
round the truth on one slice: of 1808 slices 82 lay beyond the structure's end and 35 do with it; of
the 1418 that were drawn well (Dice of 0.5 or more) 4 are lost. Mean Dice, before and with it: CT
0.631 and 0.644 at 2 mm, 0.659 and 0.664 at 4 mm, atria 0.654 and 0.653, lesions 0.696 and 0.693.
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
from agent.volume.neighbours import reach_px, shared_within
from agent.volume.propagation_order import PropagationPath, paths_of, sweep

_LEVELS = 16  # bins of grey 0..1: 25 HU each in the abdomen's window, more than its noise
_LEAST_GROWTH_PX = 2.0
_MOST_GROWTH = 0.15  # of the longer side of the box
_LEAST_LIKENESS = 0.5  # of a slice to go on with; the module says how it was chosen


class SteppingSegmenter:
    """`segmenter`, a 2-D one, as a VolumeSegmenter (agent.ports)."""

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
        """Propagate all objects up, then down (agent.ports.VolumeSegmenter), those of a slice in
        one run of the decoder.

        A PropagatedSlice's score is the intersection of its grey levels with its first outline's.
        """
        paths = paths_of(seeds, slices.shape)
        latest_masks = {path: seeds[path.index].masks[path.origin] for path in paths}
        first_levels = {
            path: _levels(slices.image(path.origin)[mask]) for path, mask in latest_masks.items()
        }

        def draw(z: int, present: Sequence[PropagationPath]) -> list[PropagatedSlice]:
            encoding, image = slices.encoding(z), slices.image(z)
            boxes = [_grown_box(latest_masks[path], slices.spacing_mm) for path in present]
            answers = self.segment_many([PromptedSlice(encoding, Prompts(box)) for box in boxes])
            propagated = []
            for path, answer in zip(present, answers, strict=True):
                score = _intersection(first_levels[path], _levels(image[answer.mask]))
                break_off = ""
                if answer.mask.any():
                    mask = tidy_slice(answer.mask)
                    overlap = shared_within(mask, latest_masks[path], reach_px(slices.spacing_mm))
                    break_off = _break_off(score, overlap)
                    latest_masks[path] = mask
                propagated.append(PropagatedSlice(path.index, z, answer, score, break_off))
            return propagated

        yield from sweep(paths, draw, continue_if)


def with_propagation(segmenter: Segmenter) -> VolumeSegmenter:
    """The segmenter itself if it propagates objects, else with propagation by boxes."""
    return segmenter if isinstance(segmenter, VolumeSegmenter) else SteppingSegmenter(segmenter)


def _grown_box(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> Box:
    """The box for the slice beside `mask`: its box, grown as the module says."""
    box = Box.around(mask)
    gap_px = spacing_mm[0] / spacing_mm[2]  # slice distance in pixels: tan 45 degrees is 1
    most_px = max(_LEAST_GROWTH_PX, _MOST_GROWTH * max(box.x1 - box.x0, box.y1 - box.y0))
    return box.grown(min(max(gap_px, _LEAST_GROWTH_PX), most_px), mask.shape)


def _break_off(score: float, overlap: float) -> str:
    """Why an object is not to be followed to a mask of that `score` that shares `overlap` with the
    mask of the slice before; "" if it is.
    """
    if score * overlap >= _LEAST_LIKENESS:
        return ""
    return (
        f"what was drawn there is unlike it ({100 * score:.0f} % of its grey levels, "
        f"{100 * overlap:.0f} % of its place); check whether the structure goes on"
    )


def _levels(inside: NDArray[np.float32]) -> NDArray[np.float64]:
    """Histogram of grey levels, (_LEVELS,) float64 of sum 1; all 0 without a pixel."""
    counts, _ = np.histogram(inside, bins=_LEVELS, range=(0.0, 1.0))
    return np.asarray(counts / max(int(counts.sum()), 1))


def _intersection(levels: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    return float(np.minimum(levels, others).sum())
