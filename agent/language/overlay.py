"""The picture of one slice for a language model: the mask as a contour or in a tint, a neighbour's
outline, and that of what was undone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.language.chat import Picture
from agent.protocol.dialects import Dialect
from agent.protocol.view import View

Rgb = tuple[int, int, int]


class Overlay(StrEnum):
    """How a mask is shown."""

    CONTOUR = "contour"  # a line round it: what is inside can be seen
    FILL = "fill"  # in the paper's tint, as its checkpoints were trained


@dataclass(frozen=True)
class Tint:
    """A mask's colour over a picture: `colour` RGB 0..255, `alpha` 0..1 its share."""

    colour: Rgb
    alpha: float


TINTS: Mapping[Dialect, Tint] = {
    Dialect.TOOL_CALL: Tint((0, 255, 0), 0.5),  # MedSAM-Agent
    Dialect.THINK_ACTION: Tint((34, 139, 34), 0.4),  # IBISAgent
}
"""The tints on which each paper's checkpoints were trained."""

OUTLINE_RGB: Rgb = (255, 255, 0)
"""A neighbouring slice's outline: unlike either tint."""

MASK_RGB: Rgb = (0, 255, 0)
UNDONE_RGB: Rgb = (255, 64, 64)
"""The contours of the mask, and of one that was tried and undone."""

_OUTLINE_PX = 2
_SMALL_PX = 2_000  # pixels of a picture: a smaller mask has a line half as wide


def resampled_in(
    view: View, picture: NDArray[np.float32], padding: float = 1.0
) -> NDArray[np.uint8]:
    """A slice's picture (rows, columns, 3) float32 0..1 as `view` shows it, (height, width, 3)
    uint8; the `padding` beside it is white, as in MedSAM-Agent.
    """
    red, green, blue = np.moveaxis(picture, 2, 0)
    if np.array_equal(red, green) and np.array_equal(red, blue):  # grey is resampled once
        return eight_bit(np.repeat(view.image(red, padding)[..., None], 3, axis=2))
    return eight_bit(view.image(picture, padding))


def overlaid(
    slice_rgb: NDArray[np.uint8],
    view: View,
    tint: Tint,
    *,
    mask: NDArray[np.bool_] | None = None,
    neighbour: NDArray[np.bool_] | None = None,
) -> Picture:
    """`slice_rgb`, as `resampled_in` gives it, with `mask` (rows, columns) bool in `tint` and the
    outline of `neighbour` (rows, columns) bool in yellow. As in both papers, clicks and boxes are
    left out.
    """
    pixels = slice_rgb.copy()
    if mask is not None:
        inside = view.mask(mask)
        mixed = (1 - tint.alpha) * slice_rgb[inside] + tint.alpha * np.array(tint.colour)
        pixels[inside] = np.round(mixed).astype(np.uint8)
    if neighbour is not None:
        pixels[rim(view.mask(neighbour), _OUTLINE_PX)] = OUTLINE_RGB
    return Picture(pixels)


def contoured(
    slice_rgb: NDArray[np.uint8],
    view: View,
    *,
    mask: NDArray[np.bool_] | None = None,
    undone: NDArray[np.bool_] | None = None,
    neighbour: NDArray[np.bool_] | None = None,
) -> Picture:
    """`slice_rgb`, as `resampled_in` gives it, with the outlines of masks (rows, columns) bool: a
    `neighbour` in yellow, one that was `undone` in red, the `mask` in green over both. A line runs
    outside of its mask, so that all that it holds can be seen.
    """
    pixels = slice_rgb.copy()
    for shape, colour in ((neighbour, OUTLINE_RGB), (undone, UNDONE_RGB), (mask, MASK_RGB)):
        if shape is not None:
            pixels[_line_round(view.mask(shape))] = colour
    return Picture(pixels)


def _line_round(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    is_small = np.count_nonzero(mask) < _SMALL_PX
    width_px = _OUTLINE_PX // 2 if is_small else _OUTLINE_PX
    return np.asarray(ndimage.binary_dilation(mask, iterations=width_px) & ~mask)


def eight_bit(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Intensities 0..1 as 0..255."""
    return np.round(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)


def rim(mask: NDArray[np.bool_], width_px: int) -> NDArray[np.bool_]:
    """The outermost `width_px` pixels of a mask; all of it where it is thinner.

    The mask is taken to go on beyond the picture (border_value 1), so its cut edge is no outline.
    """
    inner = ndimage.binary_erosion(mask, iterations=width_px, border_value=1)
    return np.asarray(mask & ~inner)
