"""Where a reader clicks who knows the truth: in the middle of the larger error.

MedSAM-Agent's oracle: false negatives and false positives each get an exact Euclidean distance
transform after one pixel of zero padding, so that the image's edge is an edge; pixels that were
clicked before count as none; the click is the deepest pixel of the map with the larger maximum, the
first in rows among equals. It is positive in false negatives. **On a tie it is negative**, as
MedSAM-Agent has it (IBISAgent: positive).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.values import Point


@dataclass(frozen=True, eq=False)
class LargerError:
    """The error that a reader corrects next: `depth_px` (rows, columns) float64, the distance of
    each of its pixels from its edge and 0 elsewhere; `missing` where the mask leaves it out, else
    the mask is too large there.
    """

    depth_px: NDArray[np.float64]
    missing: bool

    @property
    def click(self) -> Point:
        """The deepest pixel, the first in rows among equals."""
        return self._at(int(np.argmax(self.depth_px)))

    def click_near(self, near_share: float, rng: np.random.Generator) -> Point:
        """Any pixel that is at least `near_share` (0..1) as deep as the deepest, drawn evenly."""
        deep = np.flatnonzero(self.depth_px >= max(near_share * self.depth_px.max(), 1e-9))
        return self._at(int(rng.choice(deep)))

    @property
    def region(self) -> NDArray[np.bool_]:
        """The connected part of the error (rows, columns) bool that the click lies in."""
        error = self.depth_px > 0
        click = divmod(int(np.argmax(self.depth_px)), error.shape[1])
        window = _window(error)
        # labelled where the error is alone: the rest of the slice is none of its parts
        labels, _ = ndimage.label(error[window])
        region = np.zeros_like(error)
        region[window] = labels == labels[click[0] - window[0].start, click[1] - window[1].start]
        return region

    def _at(self, index: int) -> Point:
        row, column = divmod(index, self.depth_px.shape[1])
        return Point(float(column), float(row), self.missing)


def larger_error(
    mask: NDArray[np.bool_] | None, truth: NDArray[np.bool_], clicked: Iterable[Point] = ()
) -> LargerError | None:
    """The larger error of `mask` (None: nothing is drawn) against `truth`, both (rows, columns)
    bool; None where there is none outside the pixels `clicked` before. ValueError for two shapes.
    """
    drawn = np.zeros_like(truth) if mask is None else mask
    if drawn.shape != truth.shape:
        raise ValueError(f"the mask is {drawn.shape}, the truth {truth.shape}")
    missing, superfluous = _depth_px(truth & ~drawn), _depth_px(drawn & ~truth)
    for point in clicked:
        pixel = round(point.y), round(point.x)
        missing[pixel] = superfluous[pixel] = 0.0
    deepest_missing, deepest_superfluous = missing.max(), superfluous.max()
    if max(deepest_missing, deepest_superfluous) <= 0:
        return None
    if deepest_missing > deepest_superfluous:
        return LargerError(missing, missing=True)
    return LargerError(superfluous, missing=False)


def iou(mask: NDArray[np.bool_] | None, truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one shape; 1 where both are empty, None is empty."""
    if mask is None:
        return 0.0 if truth.any() else 1.0
    union = np.count_nonzero(mask | truth)
    return float(np.count_nonzero(mask & truth) / union) if union else 1.0


def _depth_px(error: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The distance of each pixel from the error's edge, 0 outside; the image's frame is an edge.

    The transform runs on the error's bounding box alone: what is outside is 0 by definition.
    """
    depth_px = np.zeros(error.shape)
    if error.any():
        window = _window(error)
        padded = np.pad(error[window], 1)
        depth_px[window] = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    return depth_px


def _window(error: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and columns that an error with a pixel at least reaches over."""
    rows, columns = np.flatnonzero(error.any(axis=1)), np.flatnonzero(error.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
