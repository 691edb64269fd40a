"""Images as clients send them: PNG, JPEG or NumPy's .npy, hostile until looked at."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.errors import BadImage, ImageTooLarge
from server.interactive.views import AS_SENT, AskedView

_NPY = b"\x93NUMPY"
_WIDTHS = {"uint8": 255.0, "uint16": 65535.0}
_GREY_BYTES = 4 + 4 + 12
_COLOUR_BYTES = 12 + 4 + 12
"""Bytes a pixel: as float32, what a step takes beside it, and the segmenter's own copy, which may
be RGB.
"""
_MEASURING_BYTES = 40
"""Bytes a pixel that a view's scale takes to be measured and applied."""
_BAND_ROWS = 256
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"
_MOST_SCANS = 200
"""Of a progressive JPEG; encoders write some ten, each costs a pass over all pixels, and one takes
but a few bytes.
"""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    TokenError,
    struct.error,
    zlib.error,
)
"""What Pillow and NumPy (which reads a header as Python) raise for bytes that are not what they
begin as.
"""


@dataclass(frozen=True)
class ImageName:
    """What an encoded image is known by: its file's SHA-256 and the view that was asked for."""

    sha256: str
    view: AskedView | None = None


@dataclass(frozen=True, eq=False)
class SentImage:
    """An image as it came in, kept as sent: `content` are the file's bytes, `view` how it is to be
    shown (None: as sent).
    """

    content: bytes
    view: AskedView | None = None

    @cached_property
    def sha256(self) -> str:
        """What the image is known by, 64 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> ImageName:
        """What its encoding is known by."""
        return ImageName(self.sha256, self.view)

    def working_bytes(self, max_pixels: int) -> int:
        """The most memory that `pixels` and a segmenter's input made of them take, in bytes.

        Only the header is read. It raises what `pixels` raises.
        """
        with _opened(self.content, max_pixels) as opened:
            measuring = 0 if self.view is None else _MEASURING_BYTES
            return opened.rows * opened.columns * (opened.bytes_per_pixel + measuring)

    def shown(self, max_pixels: int) -> tuple[NDArray[np.float32], str]:
        """The image in 0..1 as a segmenter is shown it, and what to say of that.

        With a view (rows, columns) float32, as `segnode segment` shows a file; else `pixels`.
        Raises what `pixels` raises.
        """
        if self.view is None:
            return self.pixels(max_pixels), AS_SENT
        with _opened(self.content, max_pixels) as opened:
            stored = _stored(opened)
        return self.view.shown(stored)

    def pixels(self, max_pixels: int) -> NDArray[np.float32]:
        """The image in 0..1: (rows, columns) float32 if grey, else (rows, columns, 3) RGB.

        8- and 16-bit integers are divided by their largest value; floats must be in 0..1 already.
        Nothing is unpacked before its size is known. Raises ImageTooLarge above `max_pixels`,
        BadImage for what is no image.
        """
        with _opened(self.content, max_pixels) as opened:
            width = _width_of(opened)
            pixels = _stored(opened)
        if width is None:
            for row in pixels:  # row by row: a test of all at once takes as much again
                if not (row.min() >= 0.0 and row.max() <= 1.0):
                    raise BadImage(
                        "floating-point pixels must be numbers from 0 to 1, unless a modality or "
                        "a window is named"
                    )
            return pixels
        pixels /= np.float32(width)
        return pixels


@dataclass(frozen=True)
class _Picture:
    """A PNG or JPEG of which only the header has been read."""

    picture: Image.Image
    content: bytes

    @property
    def rows(self) -> int:
        return self.picture.height

    @property
    def columns(self) -> int:
        return self.picture.width

    @property
    def is_grey(self) -> bool:
        return self.picture.mode.startswith("I") or self.picture.mode in ("L", "LA", "1")

    @property
    def is_deep(self) -> bool:
        return self.picture.mode.startswith("I")

    @property
    def bytes_per_pixel(self) -> int:
        # the decoder's coefficients, where it keeps them all (a progressive JPEG), and the picture
        # as it decodes it
        unpacked = (8 if "progressive" in self.picture.info else 0) + 4
        return unpacked + (_GREY_BYTES if self.is_grey else _COLOUR_BYTES)


@dataclass(frozen=True)
class _Array:
    """A .npy file of which only the header has been read."""

    stream: io.BytesIO
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def rows(self) -> int:
        return self.shape[0]

    @property
    def columns(self) -> int:
        return self.shape[1]

    @property
    def bytes_per_pixel(self) -> int:
        channels = self.shape[2] if len(self.shape) == 3 else 1
        return self.dtype.itemsize * channels + (_GREY_BYTES if channels == 1 else _COLOUR_BYTES)


@contextmanager
def _opened(content: bytes, max_pixels: int) -> Iterator[_Picture | _Array]:
    """The image with its header read and its size checked.

    BadImage for whatever goes wrong while the rest is read.
    """
    if content.startswith(_NPY):
        with _read_as("the .npy file is damaged or cut off", max_pixels):
            yield _opened_npy(content, max_pixels)
        return
    with _read_as("the image is damaged or neither PNG, JPEG nor .npy", max_pixels):
        if content.startswith(_JPEG) and content.count(_SCAN) > _MOST_SCANS:
            raise BadImage(f"a JPEG of more than {_MOST_SCANS} scans: save it as a plain one")
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            _check_shape((picture.height, picture.width), max_pixels)
            yield _Picture(picture, content)


@contextmanager
def _read_as(fault: str, max_pixels: int) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"the image has more than {max_pixels} pixels") from error
    except _DAMAGED as error:
        raise BadImage(fault) from error


def _opened_npy(content: bytes, max_pixels: int) -> _Array:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise BadImage("write the .npy file in format 1.0 or 2.0")
    shape, _, dtype = _HEADERS[version](stream)
    _check_shape(shape, max_pixels)
    if dtype.name not in (*_WIDTHS, "int16", "float32"):
        raise BadImage(f"pixels of type {dtype.name}; send uint8, uint16 or float32")
    stream.seek(0)
    return _Array(stream, shape, dtype)


def _width_of(opened: _Picture | _Array) -> float | None:
    """What integers are divided by to lie in 0..1; None for floats, BadImage for signed ones."""
    if isinstance(opened, _Picture):
        return _WIDTHS["uint16" if opened.is_deep else "uint8"]
    if opened.dtype.name == "int16":
        raise BadImage("pixels of type int16 need a modality or a window to be shown by")
    return _WIDTHS.get(opened.dtype.name)


def _stored(opened: _Picture | _Array) -> NDArray[np.float32]:
    """The values as they are stored, as float32, all of them finite; BadImage."""
    return _from_npy(opened) if isinstance(opened, _Array) else _from_picture(opened)


def _from_npy(opened: _Array) -> NDArray[np.float32]:
    stored: NDArray[np.generic] = np.lib.format.read_array(opened.stream, allow_pickle=False)
    if stored.dtype.kind == "f":
        for row in stored:
            if not np.isfinite(row).all():
                raise BadImage("floating-point pixels must be numbers")
    return stored.astype(np.float32, copy=False)


def _from_picture(opened: _Picture) -> NDArray[np.float32]:
    """Grey in its own depth, everything else as RGB; transparency is ignored.

    It is converted band by band, which takes less memory.
    """
    picture = opened.picture
    picture.load()
    deep = opened.is_deep
    shape = (opened.rows, opened.columns) if opened.is_grey else (opened.rows, opened.columns, 3)
    pixels = np.empty(shape, np.float32)
    for first in range(0, opened.rows, _BAND_ROWS):
        last = min(first + _BAND_ROWS, opened.rows)
        band = picture.crop((0, first, opened.columns, last))
        if not deep:
            band = band.convert("L" if opened.is_grey else "RGB")
        # a deep picture may be kept in 32 bits, of which only the lower 16 mean anything
        pixels[first:last] = np.asarray(band).astype(np.uint16) if deep else np.asarray(band)
    return pixels


def _check_shape(shape: tuple[int, ...], max_pixels: int) -> None:
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or min(shape) < 1:
        raise BadImage("an image is (rows, columns) or (rows, columns, 3), with at least one pixel")
    if shape[0] * shape[1] > max_pixels:
        raise ImageTooLarge(
            f"the image has {shape[0]} x {shape[1]} pixels, more than {max_pixels}: "
            "send a smaller one, or raise sessions.max_image_pixels"
        )
