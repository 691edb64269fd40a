"""What is published of families of chat models: in what they write places on a picture, and at what
size they see it.

Qwen2-VL and Qwen3-VL write 0 to 1000 of the image (QwenLM/Qwen3-VL issues 1485 and 1741),
Qwen2.5-VL pixels of the image as its processor resizes it (the same, and issue 1623): to multiples
of 28 within bounds of its area.
"""

from __future__ import annotations

import math
import re

from agent.protocol.coordinates import Coordinates, SizePx

_PIXELS = re.compile(r"qwen[-_. ]?2[-_.]5[-_. ]?vl", re.IGNORECASE)
_THOUSANDTHS = re.compile(r"qwen[-_. ]?[23][-_. ]?vl", re.IGNORECASE)

TRAINED_COORDINATES = "segnode_coordinates"
"""The entry of a model's config.json that says what it was trained with here."""

STEP_PX = 28
"""Sides of what Qwen2.5-VL sees are multiples of this: 2 patches of 14 pixels."""

AREA_PX = (56 * 56, 28 * 28 * 16384)
"""Least and most pixels of a picture, as Qwen2.5-VL's checkpoints come with."""


def coordinates_of(name: str) -> Coordinates:
    """What the family writes that a model's `name` or type tells; AUTO for any other."""
    if _PIXELS.search(name):
        return Coordinates.PIXELS
    return Coordinates.THOUSANDTHS if _THOUSANDTHS.search(name) else Coordinates.AUTO


def resized_px(
    size_px: SizePx, area_px: tuple[int, int] = AREA_PX, step_px: int = STEP_PX
) -> SizePx:
    """The (width, height) at which a Qwen processor shows a picture: each side the nearest multiple
    of `step_px`, the area within `area_px` (least, most).

    >>> resized_px((512, 512)), resized_px((2048, 1024))
    ((504, 504), (2044, 1036))
    """
    sides = [max(step_px, round(side / step_px) * step_px) for side in size_px]
    least, most = area_px
    shrink = math.sqrt(math.prod(size_px) / most)
    if math.prod(sides) > most:
        sides = [max(step_px, math.floor(side / shrink / step_px) * step_px) for side in size_px]
    elif math.prod(sides) < least:
        grow = math.sqrt(least / math.prod(size_px))
        sides = [math.ceil(side * grow / step_px) * step_px for side in size_px]
    return sides[0], sides[1]
