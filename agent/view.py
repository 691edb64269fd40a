"""The one transform between a slice's pixels and the image a model sees: crop, resize, letterbox.

Everywhere a coordinate is (x, y) with zero at the *centre* of the first pixel. A pixel reaches half a
pixel to each side, so the edges of the image lie at -0.5 and size - 0.5; resizing maps edges to
edges, and this is what keeps centres from drifting by half a pixel:

    x_view = (x_slice - left + 0.5) * scale - 0.5 + padding

What a model says is a fraction of the image it sees. There is one convention for both papers' numbers
(0 to 999, and 0 to 1): 0 is the centre of the first pixel, the largest value that of the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from agent.values import Box, Point

_ROUNDING = 1e-6  # of a step: what floating point may lose at an edge

THOUSANDTHS = 999
"""The largest relative coordinate of the tool-call protocol."""


@dataclass(frozen=True)
class Crop:
    """A part of a slice in whole pixels: `left`, `top` the first pixel, `width`, `height` how many."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class View:
    """A crop of a slice, shown in an image of `size` (width, height) at `offset` with `content` pixels.

    All in pixels as (x, y) pairs; `offset` and `content` say where in the image the crop lies, the rest
    is padding. ValueError when the crop is empty or the content does not fit the image.
    """

    crop: Crop
    size: tuple[int, int]
    offset: tuple[int, int]
    content: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.crop.width, self.crop.height, *self.content) < 1:
            raise ValueError("a view needs at least one pixel in each direction")
        if self.crop.left < 0 or self.crop.top < 0 or min(self.offset) < 0:
            raise ValueError("a crop starts inside the slice, its content inside the image")
        if any(o + c > s for o, c, s in zip(self.offset, self.content, self.size, strict=True)):
            raise ValueError("the content of a view must fit its image")

    @classmethod
    def identity(cls, shape: tuple[int, int]) -> View:
        """The slice of `shape` (rows, columns) as it is."""
        return cls.squash(shape, (shape[1], shape[0]))

    @classmethod
    def squash(
        cls, shape: tuple[int, int], size: tuple[int, int], crop: Crop | None = None
    ) -> View:
        """The whole image of `size` (width, height) filled; the aspect is not kept."""
        return cls(crop or _whole(shape), size, (0, 0), size)

    @classmethod
    def letterbox(
        cls, shape: tuple[int, int], size: tuple[int, int], crop: Crop | None = None
    ) -> View:
        """As large as fits an image of `size` (width, height), centred, padded; aspect kept to the pixel."""
        part = crop or _whole(shape)
        scale = min(size[0] / part.width, size[1] / part.height)
        content = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
        offset = ((size[0] - content[0]) // 2, (size[1] - content[1]) // 2)
        return cls(part, size, offset, content)

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the image for one of the slice, along (x, y)."""
        return self.content[0] / self.crop.width, self.content[1] / self.crop.height

    def to_view(self, x: float, y: float) -> tuple[float, float]:
        """A slice's pixel coordinates in the image the model sees."""
        sx, sy = self.scale
        return (
            (x - self.crop.left + 0.5) * sx - 0.5 + self.offset[0],
            (y - self.crop.top + 0.5) * sy - 0.5 + self.offset[1],
        )

    def to_slice(self, x: float, y: float) -> tuple[float, float]:
        """The inverse of `to_view`."""
        sx, sy = self.scale
        return (
            (x - self.offset[0] + 0.5) / sx - 0.5 + self.crop.left,
            (y - self.offset[1] + 0.5) / sy - 0.5 + self.crop.top,
        )

    def to_fraction(self, x: float, y: float) -> tuple[float, float]:
        """A slice's pixel coordinates as fractions 0..1 of the image the model sees."""
        u, v = self.to_view(x, y)
        return _share(u, self.size[0]), _share(v, self.size[1])

    def from_fraction(self, u: float, v: float) -> tuple[float, float]:
        """The inverse of `to_fraction`."""
        return self.to_slice(u * (self.size[0] - 1), v * (self.size[1] - 1))

    def shows(self, x: float, y: float) -> bool:
        """Whether a slice's pixel coordinates lie on the crop, to its pixels' outer edges."""
        return (
            -0.5 <= x - self.crop.left <= self.crop.width - 0.5
            and -0.5 <= y - self.crop.top <= self.crop.height - 0.5
        )

    def clamped(self, x: float, y: float) -> tuple[float, float]:
        """The nearest coordinates that lie between the centres of the crop's outermost pixels."""
        return (
            min(max(x, self.crop.left), self.crop.left + self.crop.width - 1),
            min(max(y, self.crop.top), self.crop.top + self.crop.height - 1),
        )

    def point(self, u: float, v: float, positive: bool) -> Point:
        """The click at fractions (u, v) of the image; ValueError when it lies on the padding."""
        x, y = self.from_fraction(u, v)
        if not self.shows(x, y):
            raise ValueError("the point lies on the padding, outside the picture")
        return Point(*self.clamped(x, y), positive)

    def box(self, u0: float, v0: float, u1: float, v1: float) -> Box:
        """The box between fractions of the image, cut to the crop; ValueError when it lies on the padding."""
        x0, y0 = self.from_fraction(u0, v0)
        x1, y1 = self.from_fraction(u1, v1)
        right, bottom = self.crop.left + self.crop.width, self.crop.top + self.crop.height
        beside = x1 < self.crop.left - 0.5 or x0 > right - 0.5
        if beside or y1 < self.crop.top - 0.5 or y0 > bottom - 0.5:
            raise ValueError("the box lies on the padding, outside the picture")
        return Box(*self.clamped(x0, y0), *self.clamped(x1, y1))

    def point_steps(self, point: Point, steps: int) -> tuple[int, int]:
        """A click in whole steps of 1/`steps` of the image, the nearest that lie on the picture."""
        across, down = self._steps(steps)
        u, v = self.to_fraction(point.x, point.y)
        return _within(round(u * steps), across), _within(round(v * steps), down)

    def box_steps(self, box: Box, steps: int) -> tuple[int, int, int, int]:
        """A box (left, top, right, bottom) in steps as `point_steps`, at least one step wide and high."""
        x0, y0 = self.point_steps(Point(box.x0, box.y0), steps)
        x1, y1 = self.point_steps(Point(box.x1, box.y1), steps)
        (_, last_x), (_, last_y) = self._steps(steps)
        x0, y0 = min(x0, max(last_x - 1, 0)), min(y0, max(last_y - 1, 0))
        return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)

    def _steps(self, steps: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The first and last step whose place lies on the picture, along x and along y."""
        crop = self.crop
        first = self.to_fraction(crop.left, crop.top)
        last = self.to_fraction(crop.left + crop.width - 1, crop.top + crop.height - 1)
        across, down = (
            (
                max(math.ceil(low * steps - _ROUNDING), 0),
                min(math.floor(high * steps + _ROUNDING), steps),
            )
            for low, high in zip(first, last, strict=True)
        )
        return across, down

    def image(self, pixels: NDArray[np.float32], padding: float = 1.0) -> NDArray[np.float32]:
        """What the model sees of a slice (rows, columns) float32: (height, width), bilinear, anti-aliased."""
        sx, sy = self.scale
        part = self._cropped(pixels).astype(np.float32)
        blur = [max(0.0, (1 / s - 1) / 2) for s in (sy, sx)]
        shown = np.full((self.size[1], self.size[0]), padding, dtype=np.float32)
        shown[self._window] = self._resampled(ndimage.gaussian_filter(part, blur), order=1)
        return shown

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (rows, columns) bool as it lies on `image`: (height, width), nearest pixel."""
        shown = np.zeros((self.size[1], self.size[0]), dtype=np.bool_)
        shown[self._window] = self._resampled(self._cropped(mask).astype(np.uint8), order=0) > 0
        return shown

    @property
    def _window(self) -> tuple[slice, slice]:
        (x, y), (width, height) = self.offset, self.content
        return slice(y, y + height), slice(x, x + width)

    def _cropped(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        part = self.crop
        rows, columns = pixels.shape
        if part.left + part.width > columns or part.top + part.height > rows:
            raise ValueError(
                f"this view shows {part}, which a slice of {pixels.shape} does not have"
            )
        return pixels[part.top : part.top + part.height, part.left : part.left + part.width]

    def _resampled(self, part: NDArray[np.generic], order: int) -> NDArray[np.float32]:
        """The crop at the content's size; edges of both coincide."""
        step = np.array([1 / self.scale[1], 1 / self.scale[0]])
        resampled = ndimage.affine_transform(
            part,
            step,
            offset=0.5 * step - 0.5,
            output_shape=(self.content[1], self.content[0]),
            order=order,
            mode="nearest",
        )
        return np.asarray(resampled)


def _share(position: float, size: int) -> float:
    """A position between the centres of the first and last of `size` pixels; one pixel has one place."""
    return position / (size - 1) if size > 1 else 0.0


def _within(step: int, span: tuple[int, int]) -> int:
    """The nearest of the steps in `span`; the step itself where a sliver of a picture has none."""
    first, last = span
    return min(max(step, first), last) if first <= last else max(last, 0)


def _whole(shape: tuple[int, int]) -> Crop:
    return Crop(0, 0, shape[1], shape[0])
