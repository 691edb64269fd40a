"""The one transform between a slice's pixels and the image a model sees: crop, resize, letterbox.

Everywhere a coordinate is (x, y) with zero at the *centre* of the first pixel. A pixel reaches half
a pixel to each side, so the edges of the image lie at -0.5 and size - 0.5; resizing maps edges to
edges, and this is what keeps centres from drifting by half a pixel:

    x_view = (x_slice - left + 0.5) * scale - 0.5 + padding

A model writes fractions of the image it sees (agent/protocol/coordinates.py): 0 is the centre of
the first pixel, 1 that of the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class Crop:
    """A part of a slice in whole pixels: its first pixel (`left`, `top`), its size."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class View:
    """A crop of a slice, shown in an image of `size` (width, height) at `offset` with `content`
    pixels.

    All in pixels as (x, y) pairs; `offset` and `content` say where in the image the crop lies, the
    rest is padding. ValueError when the crop is empty or the content does not fit the image.
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
        """As large as fits `size` (width, height), centred, padded; aspect kept to the pixel."""
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

    def image(self, pixels: NDArray[np.float32], padding: float = 1.0) -> NDArray[np.float32]:
        """A slice float32, grey (rows, columns) or RGB (rows, columns, 3), as the model sees it:
        (height, width) or (height, width, 3), bilinear, anti-aliased, `padding` beside it.
        """
        if pixels.ndim == 3:
            return np.stack(
                [self.image(channel, padding) for channel in np.moveaxis(pixels, 2, 0)], 2
            )
        sx, sy = self.scale
        # Shrinking by f needs a low-pass at the new Nyquist limit: a Gaussian of sigma (f - 1) / 2
        # pixels, as scikit-image's resize has, and none where the image is enlarged.
        sigma_px = [max(0.0, (1 / s - 1) / 2) for s in (sy, sx)]
        part = ndimage.gaussian_filter(_cropped(self.crop, pixels).astype(np.float32), sigma_px)
        image = np.full((self.size[1], self.size[0]), padding, dtype=np.float32)
        image[self._window] = _resampled(part, self.content, order=1)
        return image

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (rows, columns) bool as it lies on `image`: (height, width), nearest pixel."""
        part = _cropped(self.crop, mask).astype(np.uint8)
        image = np.zeros((self.size[1], self.size[0]), dtype=np.bool_)
        image[self._window] = _resampled(part, self.content, order=0) > 0
        return image

    @property
    def _window(self) -> tuple[slice, slice]:
        (x, y), (width, height) = self.offset, self.content
        return slice(y, y + height), slice(x, x + width)


def _cropped(part: Crop, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    rows, columns = pixels.shape
    if part.left + part.width > columns or part.top + part.height > rows:
        raise ValueError(f"this view shows {part}, which a slice of {pixels.shape} does not have")
    return pixels[part.top : part.top + part.height, part.left : part.left + part.width]


def _resampled(
    part: NDArray[np.generic], content: tuple[int, int], order: int
) -> NDArray[np.float32]:
    """A crop at the content's size (width, height); edges of both coincide."""
    shape = np.array([content[1], content[0]])
    # output pixel i lies at input step * (i + 0.5) - 0.5: edges, not centres, are mapped on edges
    step = np.array(part.shape) / shape
    return np.asarray(
        ndimage.affine_transform(
            part,
            step,
            offset=0.5 * step - 0.5,
            output_shape=tuple(shape),
            order=order,
            mode="nearest",
        )
    )


def _share(position: float, size: int) -> float:
    """A position as a fraction between the centres of the first and last of `size` pixels."""
    return position / (size - 1) if size > 1 else 0.0


def _whole(shape: tuple[int, int]) -> Crop:
    return Crop(0, 0, shape[1], shape[0])
