"""A replayed turn as a picture: what the policy was shown, and what came of it.

Both halves are drawn by the painter of the language model's pictures. The first is the very picture
that such a policy saw; a policy that is shown no pictures gets the slice as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from agent.actions import Action, AddBox, AddPoint
from agent.conditions import PictureSettings
from agent.language.chat import Conversation, Picture
from agent.language.overlay import TINTS, Overlay, contoured, overlaid, resampled_in
from agent.language.prompt_builder import PromptBuilder
from agent.language.settings import LanguageSettings
from agent.language.views import view_of
from agent.ports import Slices
from agent.protocol.dialects import Dialect
from agent.protocol.view import View
from agent.recorded import ReplayedTurn
from agent.values import Box, Point, Target

Pixels = NDArray[np.uint8]
"""(height, width, 3) RGB."""

GAP_PX = 6
GAP_RGB = (12, 14, 18)
PROMPT_RGB, NEGATIVE_RGB = (255, 80, 200), (90, 160, 255)
_POINT_PX = 3


def turn_picture(
    replayed: ReplayedTurn, target: Target, slices: Slices, pictures: PictureSettings
) -> Pixels:
    """What the policy was shown before a turn, and beside it what came of it: the action's box or
    click and the mask it gave. A turn of the whole volume is shown its contact sheets.
    """
    panels = list(shown_pictures(replayed, target, slices, pictures))
    if replayed.observation is not None:
        panels.append(_outcome(replayed, slices, pictures))
    return _side_by_side(panels)


def shown_pictures(
    replayed: ReplayedTurn, target: Target, slices: Slices, pictures: PictureSettings
) -> tuple[Pixels, ...]:
    """The pictures that a policy was shown before a turn, by its own painter; of a turn in which a
    segmenter followed by itself, the slices it drew.
    """
    builder = PromptBuilder.of(_settings(pictures))
    if replayed.observation is not None:
        conversation = builder.about_slice(replace(replayed.observation, slices=slices))
    elif replayed.voxels is not None and replayed.voxels.any():
        conversation = builder.about_object(target, slices, replayed.voxels)
    else:
        conversation = builder.about_volume(target, slices)
    return _pictures_in(conversation)


def _settings(pictures: PictureSettings) -> LanguageSettings:
    return LanguageSettings(
        dialect=Dialect(pictures.dialect),
        history=False,
        image_px=pictures.image_px,
        zoom=pictures.zoom,
        sheets=pictures.sheets,
        sheet_slices=pictures.sheet_slices,
        tile_px=pictures.tile_px,
        overlay=Overlay(pictures.overlay),
        crop_sheets=pictures.crop_sheets,
    )


def _pictures_in(conversation: Conversation) -> tuple[Pixels, ...]:
    return tuple(
        part.pixels
        for message in conversation.messages
        for part in message.parts
        if isinstance(part, Picture)
    )


def _outcome(replayed: ReplayedTurn, slices: Slices, pictures: PictureSettings) -> Pixels:
    """The slice with the mask that the turn drew and its box or click."""
    observation, settings = replayed.observation, _settings(pictures)
    if observation is None:
        raise ValueError("a turn of the whole volume has no outcome on a slice")
    z = observation.slice_index
    view = view_of(observation, settings)
    seen = resampled_in(view, slices.picture(z))
    mask = replayed.masks.get(z)
    if settings.overlay is Overlay.CONTOUR:
        drawn = contoured(seen, view, mask=mask)
    else:
        drawn = overlaid(seen, view, TINTS[settings.dialect], mask=mask)
    image = Image.fromarray(drawn.pixels)
    _draw_prompt(ImageDraw.Draw(image), view, replayed.turn.action)
    return np.array(image)


def _draw_prompt(draw: ImageDraw.ImageDraw, view: View, action: Action) -> None:
    match action:
        case AddBox(Box(x0, y0, x1, y1)):
            draw.rectangle([view.to_view(x0, y0), view.to_view(x1, y1)], outline=PROMPT_RGB)
        case AddPoint(Point(x, y, positive)):
            u, v = view.to_view(x, y)
            corners = [u - _POINT_PX, v - _POINT_PX, u + _POINT_PX, v + _POINT_PX]
            draw.ellipse(corners, fill=PROMPT_RGB if positive else NEGATIVE_RGB)


def _side_by_side(panels: Sequence[Pixels]) -> Pixels:
    height = max(len(panel) for panel in panels)
    width = sum(panel.shape[1] + GAP_PX for panel in panels) - GAP_PX
    sheet = np.full((height, width, 3), GAP_RGB, dtype=np.uint8)
    left = 0
    for panel in panels:
        sheet[: len(panel), left : left + panel.shape[1]] = panel
        left += panel.shape[1] + GAP_PX
    return sheet
