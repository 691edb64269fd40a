"""The boxes that are worth trying on a locator's map, in the order of the turns.

A structure fills a small part of a slice, so everything here is counted in the window round it:
the numbers are those of the whole slice, for a fraction of its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.values import Box, Segmentation
from models.policies.locator.presence import MODEL_PX

Window = tuple[slice, slice]
"""Rows and columns of a part of a slice."""


@dataclass(frozen=True)
class BoxStrategy:
    """A way to draw a box: round what lies above `level`, widened by `margin_px` of the model's
    256.

    Parts smaller than `least_share` of the largest one are left outside.
    """

    level: float
    margin_px: float
    least_share: float
    why: str


AIMS = (
    BoxStrategy(0.5, 3, 0.15, "round what is more likely than not"),
    BoxStrategy(0.5, 1, 0.9, "round the largest part alone"),
    BoxStrategy(0.15, 2, 0.3, "a looser box, in case the edge was missed"),
)
"""In the order of the turns, the best single box first; cross-validated
(models/policies/locator/train.py has the log).
"""

SUPPORT_LEVEL, SUPPORT_PX = 0.1, 2
"""Where the locator agrees at all: above this level, widened by this many of the model's pixels."""

_TRUNCATED_SIGMAS = 4.0  # of a Gaussian; what lies beyond counts as nothing


def candidate_boxes(
    expected: NDArray[np.float32], best: Segmentation | None
) -> Iterator[tuple[str, Box]]:
    """Why and where a box may be drawn on a map (rows, columns) in 0..1 with `best` drawn so far;
    none on a map of zeros.
    """
    peak = float(expected.max())
    if peak <= 0:
        return
    px = max(expected.shape) / MODEL_PX
    shape = (expected.shape[0], expected.shape[1])
    for aim in AIMS:
        # a faint structure is boxed at its own level
        parts = box_of_main_parts(expected > min(aim.level, 0.7 * peak), aim.least_share)
        yield aim.why, parts.grown(aim.margin_px * px, shape)
    if best is not None:
        supported = supported_box(best.mask, expected, max(1, round(SUPPORT_PX * px)))
        if supported is not None:
            yield "round what was drawn where the locator agrees", supported.grown(px, shape)


def box_of_main_parts(mask: NDArray[np.bool_], least_share: float) -> Box:
    """The box round a mask (rows, columns) without its parts smaller than `least_share` of the
    largest; ValueError when the mask is empty.
    """
    window = window_around(mask)
    labels, _ = ndimage.label(mask[window])
    # pixels of each part in the order of their labels; label 0 is what lies between them
    sizes = np.bincount(labels.ravel())[1:]
    largest = sizes.max()
    rows, columns = zip(
        *(
            part
            for part, size in zip(ndimage.find_objects(labels), sizes, strict=True)
            if size >= least_share * largest
        ),
        strict=True,
    )
    top, left = window[0].start, window[1].start
    return Box(
        x0=float(left + min(part.start for part in columns)),
        y0=float(top + min(part.start for part in rows)),
        x1=float(left + max(part.stop for part in columns) - 1),
        y1=float(top + max(part.stop for part in rows) - 1),
    )


def supported_box(
    mask: NDArray[np.bool_], expected: NDArray[np.float32], reach_px: int
) -> Box | None:
    """The box round the part of `mask` that lies at most `reach_px` steps from where the map
    `expected` agrees, both (rows, columns); None where there is no such part.
    """
    if not mask.any():
        return None
    # a way of `reach_px` steps to a pixel of the mask lies within this window as a whole
    window = window_around(mask, reach_px)
    # steps go to the four neighbours: the support grows by a diamond, |dx| + |dy| ≤ reach_px
    support = ndimage.binary_dilation(expected[window] > SUPPORT_LEVEL, iterations=reach_px)
    shared = mask[window] & support
    if not shared.any():
        return None
    box, top, left = Box.around(shared), window[0].start, window[1].start
    return Box(box.x0 + left, box.y0 + top, box.x1 + left, box.y1 + top)


def blurred(mask: NDArray[np.bool_], sigma_px: float) -> NDArray[np.float32]:
    """A mask (rows, columns) as float32 under a Gaussian, the image continued by its mirror."""
    result = np.zeros(mask.shape, dtype=np.float32)
    if mask.any():
        # beyond its truncated reach the Gaussian adds nothing at all
        window = window_around(mask, _gaussian_reach_px(sigma_px))
        result[window] = ndimage.gaussian_filter(
            mask[window].astype(np.float32), sigma_px, truncate=_TRUNCATED_SIGMAS
        )
    return result


def _gaussian_reach_px(sigma_px: float) -> int:
    """Pixels that scipy's Gaussian reaches to each side."""
    return int(_TRUNCATED_SIGMAS * sigma_px + 0.5)


def window_around(mask: NDArray[np.bool_], margin_px: int = 0) -> Window:
    """The window of a mask (rows, columns), `margin_px` wider on each side where the slice goes
    on; ValueError when the mask is empty.
    """
    rows, columns = (
        _span(np.flatnonzero(mask.any(axis=axis)), margin_px, mask.shape[1 - axis])
        for axis in (1, 0)
    )
    return rows, columns


def _span(filled: NDArray[np.intp], margin_px: int, length: int) -> slice:
    if not filled.size:
        raise ValueError("an empty mask has no window")
    return slice(max(0, int(filled[0]) - margin_px), min(length, int(filled[-1]) + 1 + margin_px))
