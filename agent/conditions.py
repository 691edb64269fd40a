"""What a target's turns were taken under: all that has to be known, beside turns and masks, to go
through them again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from agent.limits import Limits
from agent.values import PromptKind


@dataclass(frozen=True)
class PictureSettings:
    """How a policy's pictures are made.

    `dialect` whose tint lies over a mask, `overlay` as a fill or as a contour; `image_px` the side
    of a slice's picture, 0 for the slice's own size; `zoom` shows only the surroundings of a
    neighbour's outline; `sheets` contact sheets of `sheet_slices` slices, each tile `tile_px` wide,
    and with `crop_sheets` without what lies round the body or far from the object; with
    `repeat_pictures` one that a conversation has already is shown again.
    The defaults are those of a policy that is shown no pictures: the slice as it is.
    """

    dialect: str = "tool_call"
    image_px: int = 0
    zoom: bool = False
    sheets: int = 1
    sheet_slices: int = 20
    tile_px: int = 192
    overlay: str = "fill"
    crop_sheets: bool = False
    repeat_pictures: bool = True


@runtime_checkable
class ShowsPictures(Protocol):
    """A policy whose model is shown pictures."""

    @property
    def pictures(self) -> PictureSettings:
        """How they are made."""


@runtime_checkable
class HasPrompts(Protocol):
    """A policy that asks a language model in words that a site may change."""

    @property
    def prompts_sha256(self) -> str:
        """The digest of these words (hex): what says which version of them was used."""


class Drawing(StrEnum):
    """What a segmenter draws for a prompt."""

    PER_SLICE = "per_slice"  # one slice (Segmenter)
    FOLLOWS = "follows"  # one slice, and it follows objects from there (VolumeSegmenter)
    WHOLE = "whole"  # the whole object (VolumePrompter)


@dataclass(frozen=True)
class Conditions:
    """The working grid (`shape`, `spacing_mm` as (z, y, x)), the stored intensities shown as 0 and
    as 1 (`levels`, None where nobody said), the agent's `limits`, the prompts that the segmenter
    takes, what it draws for them, and how the policy's pictures are made.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    levels: tuple[float, float] | None
    limits: Limits
    supported_prompts: frozenset[PromptKind]
    drawing: Drawing = Drawing.PER_SLICE
    pictures: PictureSettings = field(default_factory=PictureSettings)


def conditions_record(conditions: Conditions) -> dict[str, Any]:
    """Conditions as JSON values; names and units as in `Conditions`."""
    return {
        "shape": list(conditions.shape),
        "spacing_mm": list(conditions.spacing_mm),
        "levels": None if conditions.levels is None else list(conditions.levels),
        "limits": asdict(conditions.limits),
        "supported_prompts": sorted(map(str, conditions.supported_prompts)),
        "drawing": str(conditions.drawing),
        "pictures": asdict(conditions.pictures),
    }


def conditions_from_record(record: dict[str, Any]) -> Conditions:
    """The inverse of `conditions_record`; KeyError, TypeError or ValueError for another shape."""
    depth, rows, columns = map(int, record["shape"])
    z_mm, y_mm, x_mm = map(float, record["spacing_mm"])
    levels = record["levels"]
    return Conditions(
        (depth, rows, columns),
        (z_mm, y_mm, x_mm),
        None if levels is None else (float(levels[0]), float(levels[1])),
        Limits(**record["limits"]),
        frozenset(map(PromptKind, record["supported_prompts"])),
        Drawing(record["drawing"]),
        PictureSettings(**record["pictures"]),
    )
