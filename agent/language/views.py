"""Which part of a slice a language model sees, and how large: one view for a whole episode."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.language.settings import LanguageSettings
from agent.ports import Observation
from agent.protocol.view import Crop, View
from agent.values import Box

_BODY_LEVEL = 0.1  # of what is shown, 0 to 1: air is darker, and the noise round a body in MR
_BODY_STEP = 4  # every fourth pixel tells where the body is; the couch's boards are thinner
_PART_SHARE = 0.05  # of the body's pixels: an arm beside it is a part, what is written is none
_BODY_MARGIN = 0.03  # of the body's sides
_WORTH_CROPPING = 0.9  # of both sides: more leaves hardly anything out
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


def around_body(pictures: Iterable[NDArray[np.float32]]) -> Crop | None:
    """What shows the body, with its arms, on all `pictures` of a volume ((rows, columns) or (rows,
    columns, 3), float32 in 0..1); None where that is nearly the whole, or nothing.
    """
    body = None
    for picture in pictures:
        levels = picture if picture.ndim == 2 else picture.max(axis=2)
        lit = levels[::_BODY_STEP, ::_BODY_STEP] > _BODY_LEVEL
        labels, count = ndimage.label(ndimage.binary_opening(lit))
        sizes = np.bincount(labels.ravel(), minlength=2)
        sizes[0] = 0
        parts = sizes >= max(_PART_SHARE * sizes.max(), 1)
        shown = parts[labels] if count else np.zeros_like(lit)
        body = shown if body is None else body | shown
        rows, columns = picture.shape[:2]
    if body is None or not body.any():
        return None
    box = Box.around(body)
    left, width = _stretch(box.x0, box.x1, columns)
    top, height = _stretch(box.y0, box.y1, rows)
    worth = min(width / columns, height / rows) < _WORTH_CROPPING
    return Crop(left, top, width, height) if worth else None


def _stretch(first: float, last: float, size: int) -> tuple[int, int]:
    """First pixel and length of what `first` to `last` in steps cover, with a margin."""
    low, high = int(first) * _BODY_STEP, (int(last) + 1) * _BODY_STEP
    margin = max(_BODY_STEP, round(_BODY_MARGIN * (high - low)))
    start = max(low - margin, 0)
    return start, min(high + margin, size) - start


def around_object(outline: NDArray[np.bool_]) -> Crop:
    """A square about a mask (y, x) that is not empty, with its surroundings."""
    rows, columns = outline.shape
    box = Box.around(outline)
    longer = max(box.x1 - box.x0, box.y1 - box.y0) + 1
    side = max(
        round(longer * (1 + 2 * _ZOOM_SURROUNDINGS)), max(rows, columns) // _LEAST_ZOOM_SHARE, 1
    )
    left, width = _span((box.x0 + box.x1) / 2, side, columns)
    top, height = _span((box.y0 + box.y1) / 2, side, rows)
    return Crop(left, top, width, height)


def _surroundings(observation: Observation) -> Crop | None:
    """A square about the episode's carried mask, its opening one, and the object's outline where
    it was looked over as a whole, with their surroundings.

    None with the opening one alone: a mask in doubt does not tell where the structure is, which may
    lie outside of what would be shown.
    """
    outlines = [
        mask
        for mask in (observation.carried, observation.object_outline)
        if mask is not None and mask.any()
    ]
    if not outlines:
        return None
    opening = [] if observation.opening is None else [observation.opening]
    return around_object(np.logical_or.reduce([*outlines, *opening]))


def _span(centre: float, side: int, size: int) -> tuple[int, int]:
    """First pixel and length of a span of `side` about `centre`, moved and cut to `size` pixels."""
    length = min(side, size)
    return min(max(round(centre - (length - 1) / 2), 0), size - length), length
