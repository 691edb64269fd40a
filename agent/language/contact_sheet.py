"""A volume at a glance: slices side by side, each with its number, and a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.language.bitmap_font import write
from agent.language.chat import Picture
from agent.language.overlay import Rgb, resampled_in, rim
from agent.ports import Slices
from agent.protocol.view import Crop, View

DRAWN_RGB: Rgb = (0, 255, 0)
"""The outline of the object."""

_LETTER_SCALE = 2  # digits of 10 by 14 pixels: legible after a model's own shrinking
_FOOT_PX = 28
_GAP_PX = 2
_AT_AN_END = 2  # the slice beyond the object, and its last one
_BARS_MM = (200, 100, 50, 20, 10, 5, 2, 1)


def evenly_chosen(lowest: int, highest: int, count: int) -> tuple[int, ...]:
    """At most `count` slices from `lowest` to `highest`, both included, in ascending order: the
    middles of equal shares of the span.
    """
    span = highest - lowest + 1
    parts = min(span, count)
    return tuple(lowest + int((2 * part + 1) * span / (2 * parts)) for part in range(parts))


def ends_and_between(lowest: int, highest: int, count: int) -> tuple[int, ...]:
    """At most `count` slices from `lowest` to `highest`, both included, in ascending order: two at
    each end, where an outline most often goes too far or not far enough, and the middles of equal
    shares between them.
    """
    if highest - lowest < count or count < 2 * _AT_AN_END:
        return evenly_chosen(lowest, highest, count)
    lower = tuple(range(lowest, lowest + _AT_AN_END))
    upper = tuple(range(highest - _AT_AN_END + 1, highest + 1))
    return (*lower, *evenly_chosen(lower[-1] + 1, upper[0] - 1, count - 2 * _AT_AN_END), *upper)


def grown(tile_px: int, count: int, most: int) -> int:
    """The width in pixels of each of `count` tiles that fill a sheet of `most` tiles of `tile_px`,
    as wide as a whole sheet and no wider.
    """
    return tile_px * math.ceil(math.sqrt(most)) // math.ceil(math.sqrt(min(count, most)))


def contact_sheet(
    slices: Slices,
    numbers: Sequence[int],
    tile_px: int,
    voxels: NDArray[np.bool_] | None = None,
    crop: Crop | None = None,
) -> Picture:
    """The slices `numbers` (zero-based, at least one) in rows from the left, each in a square of
    `tile_px` with its number at the top left; below them, where the scale is known, a bar with its
    length in mm. The object `voxels` (z, y, x) bool is outlined in green. Only the `crop` of each
    is shown.
    """
    view = View.letterbox(slices.shape[1:], (tile_px, tile_px), crop)
    across = math.ceil(math.sqrt(len(numbers)))
    down = math.ceil(len(numbers) / across)
    step = tile_px + _GAP_PX
    sheet = np.zeros((down * step + _FOOT_PX, max(across * step - _GAP_PX, 2), 3), dtype=np.uint8)
    for place, z in enumerate(numbers):
        top, left = place // across * step, place % across * step
        mask = None if voxels is None else voxels[z]
        sheet[top : top + tile_px, left : left + tile_px] = _tile(slices, z, view, mask)
    if slices.facts.sized:
        _draw_bar(sheet, slices.spacing_mm[2] / view.scale[0], top=down * step)
    return Picture(sheet)


def _tile(slices: Slices, z: int, view: View, mask: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    tile = resampled_in(view, slices.picture(z), padding=0.0)
    if mask is not None:
        tile[rim(view.mask(mask), 1)] = DRAWN_RGB
    write(tile, str(z), 0, 0, scale=_LETTER_SCALE)
    return tile


def _draw_bar(sheet: NDArray[np.uint8], mm_per_px: float, top: int) -> None:
    """A white bar of a round length, at most a third of the sheet, and its length behind it."""
    most_mm = sheet.shape[1] / 3 * mm_per_px
    length_mm = next((bar_mm for bar_mm in _BARS_MM if bar_mm <= most_mm), _BARS_MM[-1])
    end = 4 + max(1, round(length_mm / mm_per_px))
    sheet[top + 12 : top + 16, 4:end] = 255
    sheet[top + 8 : top + 20, 4:6] = sheet[top + 8 : top + 20, end - 2 : end] = 255
    write(sheet, f"{length_mm} mm", end + 4, top + 6, scale=_LETTER_SCALE)
