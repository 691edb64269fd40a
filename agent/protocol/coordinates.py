"""Relative coordinates as models write them: fractions of the image, or whole steps of it.

Both papers' numbers (0 to 999, and 0 to 1 with four decimals) follow one convention: 0 is the
centre of the image's first pixel, the largest value the centre of its last. With n pixels along an
axis, pixel position p is the fraction p / (n - 1) and the step round(steps * p / (n - 1)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle

from agent.protocol.view import View
from agent.values import Box, Point

THOUSANDTHS = 999
"""Steps across the image in the tool-call protocol."""

DECIMALS = 10_000
"""Steps across the image in the think/action protocol: four decimals."""


class Coordinates(StrEnum):
    """In what a checkpoint writes coordinates; AUTO is what its family is known for."""

    AUTO = "auto"
    THOUSANDTHS = "thousandths"  # 0 to 999 of the image: MedSAM-Agent, Qwen2-VL, Qwen3-VL
    PIXELS = "pixels"  # of the image as its processor resizes it: Qwen2.5-VL
    FRACTIONS = "fractions"  # 0 to 1 of the image: IBISAgent


SizePx = tuple[int, int]
"""(width, height) of a picture."""

Resize = Callable[[SizePx], SizePx]
"""The size at which a model's processor shows it a picture of a size."""


@dataclass(frozen=True)
class CoordinateRange:
    """The numbers of a `kind` on one picture: 0 is its left or top, `right` and `bottom` the other
    edges.
    """

    kind: Coordinates
    right: float
    bottom: float

    @classmethod
    def on_picture(cls, kind: Coordinates, seen_px: SizePx) -> CoordinateRange:
        """The numbers of a `kind`, not AUTO, on a picture that the model sees at `seen_px`."""
        if kind is Coordinates.PIXELS:
            width, height = seen_px
            return cls(kind, width - 1, height - 1)
        edge = 1 if kind is Coordinates.FRACTIONS else THOUSANDTHS
        return cls(kind, edge, edge)

    @property
    def whole(self) -> bool:
        """Whether they are integers."""
        return self.kind is not Coordinates.FRACTIONS

    def fractions(self, numbers: Sequence[float]) -> list[float]:
        """Numbers x, y, x, … as fractions 0..1 of the image."""
        edges = cycle((max(self.right, 1), max(self.bottom, 1)))
        return [min(number / edge, 1.0) for number, edge in zip(numbers, edges, strict=False)]

    def holds(self, numbers: Sequence[float]) -> bool:
        """Whether numbers x, y, x, … lie on the image; a pixel may be the edge behind the last."""
        beyond = 1 if self.kind is Coordinates.PIXELS else 0
        edges = cycle((self.right + beyond, self.bottom + beyond))
        return all(0 <= number <= edge for number, edge in zip(numbers, edges, strict=False))

    def __str__(self) -> str:
        if not self.whole:
            return "fractions from 0 to 1"
        if self.right == self.bottom:
            return f"integers from 0 to {self.right:g}"
        return f"integers from 0 to {self.right:g} across and from 0 to {self.bottom:g} down"


IN_THOUSANDTHS = CoordinateRange(Coordinates.THOUSANDTHS, THOUSANDTHS, THOUSANDTHS)
"""The tool-call protocol's own."""

_ROUNDING = 1e-6  # of a step: what floating point may lose at an edge


def point_at(view: View, u: float, v: float, *, positive: bool) -> Point:
    """The click at fractions (u, v) of the image, in slice pixels; ValueError on the padding."""
    x, y = view.from_fraction(u, v)
    if not view.shows(x, y):
        raise ValueError("the point lies on the padding, outside the picture")
    return Point(*view.clamped(x, y), positive)


def box_at(view: View, u0: float, v0: float, u1: float, v1: float) -> Box:
    """The box between two corners (fractions of the image) in slice pixels, cut to the crop.

    ValueError when the box lies on the padding alone.
    """
    x0, y0 = view.from_fraction(u0, v0)
    x1, y1 = view.from_fraction(u1, v1)
    crop = view.crop
    # a pixel reaches half a pixel beyond its centre, so the crop ends at its last centre + 0.5
    is_beside = x1 < crop.left - 0.5 or x0 > crop.left + crop.width - 0.5
    if is_beside or y1 < crop.top - 0.5 or y0 > crop.top + crop.height - 0.5:
        raise ValueError("the box lies on the padding, outside the picture")
    return Box(*view.clamped(x0, y0), *view.clamped(x1, y1))


def point_steps(view: View, point: Point, steps: int) -> tuple[int, int]:
    """A click in whole steps of 1/`steps` of the image: the nearest that lie on the crop."""
    across, down = _steps(view, steps)
    u, v = view.to_fraction(point.x, point.y)
    return _within(round(u * steps), across), _within(round(v * steps), down)


def box_steps(view: View, box: Box, steps: int) -> tuple[int, int, int, int]:
    """A box (left, top, right, bottom) in steps as `point_steps`, at least 1 step wide and high."""
    x0, y0 = point_steps(view, Point(box.x0, box.y0), steps)
    x1, y1 = point_steps(view, Point(box.x1, box.y1), steps)
    # a box that rounding has closed is opened by a step to the right, or to the left at the edge
    (_, last_x), (_, last_y) = _steps(view, steps)
    x0, y0 = min(x0, max(last_x - 1, 0)), min(y0, max(last_y - 1, 0))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _steps(view: View, steps: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and last step that lie on the crop, along x and along y."""
    crop = view.crop
    first = view.to_fraction(crop.left, crop.top)
    last = view.to_fraction(crop.left + crop.width - 1, crop.top + crop.height - 1)
    across, down = (
        (
            max(math.ceil(low * steps - _ROUNDING), 0),
            min(math.floor(high * steps + _ROUNDING), steps),
        )
        for low, high in zip(first, last, strict=True)
    )
    return across, down


def _within(step: int, span: tuple[int, int]) -> int:
    """The step of `span` (first, last) nearest to `step`; the last of a crop between two steps."""
    first, last = span
    return min(max(step, first), last)
