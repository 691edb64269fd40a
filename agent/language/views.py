"""Which part of a slice a language model sees, and how large: one view for a whole episode."""

from __future__ import annotations

import numpy as np

from agent.language.settings import LanguageSettings
from agent.ports import Observation
from agent.protocol.view import Crop, View
from agent.values import Box

_ZOOM_SURROUNDINGS = 0.75  # of the outline's longer side, on each side of it
_LEAST_ZOOM_SHARE = 4  # a crop is at least this part of the slice's side: context must remain


def view_of(observation: Observation, settings: LanguageSettings) -> View:
    """The view of an episode's slice: letterboxed, or in its own size where `image_px` is 0."""
    rows, columns = observation.slices.shape[1:]
    crop = _surroundings(observation) if settings.zoom else None
    if settings.image_px:
        return View.letterbox((rows, columns), (settings.image_px, settings.image_px), crop)
    size = (columns, rows) if crop is None else (crop.width, crop.height)
    return View.squash((rows, columns), size, crop)


def _surroundings(observation: Observation) -> Crop | None:
    """A square about the episode's carried and opening masks, with their surroundings; None
    without such a mask.
    """
    outlines = [
        mask
        for mask in (observation.carried, observation.opening)
        if mask is not None and mask.any()
    ]
    if not outlines:
        return None
    rows, columns = observation.slices.shape[1:]
    box = Box.around(np.logical_or.reduce(outlines))
    longer = max(box.x1 - box.x0, box.y1 - box.y0) + 1
    side = max(
        round(longer * (1 + 2 * _ZOOM_SURROUNDINGS)), max(rows, columns) // _LEAST_ZOOM_SHARE, 1
    )
    left, width = _span((box.x0 + box.x1) / 2, side, columns)
    top, height = _span((box.y0 + box.y1) / 2, side, rows)
    return Crop(left, top, width, height)


def _span(centre: float, side: int, size: int) -> tuple[int, int]:
    """First pixel and length of a span of `side` about `centre`, moved and cut to `size` pixels."""
    length = min(side, size)
    return min(max(round(centre - (length - 1) / 2), 0), size - length), length
