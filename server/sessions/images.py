"""Images as clients send them: PNG, JPEG or NumPy's .npy, hostile until looked at."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.errors import BadImage, ImageTooLarge

_NPY = b"\x93NUMPY"
_WIDTHS = {"uint8": 255.0, "uint16": 65535.0}
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
"""What Pillow and NumPy (which reads a header as Python) raise for bytes that are not what they begin as."""


@dataclass(frozen=True, eq=False)
class SentImage:
    """An image as it came in, kept as sent: `content` are the file's bytes."""

    content: bytes

    @cached_property
    def sha256(self) -> str:
        """What the image is known by, 64 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()

    def pixels(self, max_pixels: int) -> NDArray[np.float32]:
        """The image in 0..1: (rows, columns) float32 if grey, else (rows, columns, 3) RGB.

        8- and 16-bit integers are divided by their largest value; floats must be in 0..1 already. Nothing is unpacked
        before its size is known. Raises ImageTooLarge above `max_pixels`, BadImage for what is no image.
        """
        if self.content.startswith(_NPY):
            stored = _from_npy(self.content, max_pixels)
        else:
            stored = _from_picture(self.content, max_pixels)
        if stored.dtype.kind == "f":
            if not (np.isfinite(stored).all() and stored.min() >= 0.0 and stored.max() <= 1.0):
                raise BadImage("floating-point pixels must be numbers from 0 to 1")
            return stored.astype(np.float32, copy=False)
        return stored.astype(np.float32) / np.float32(_WIDTHS[stored.dtype.name])


def _from_npy(content: bytes, max_pixels: int) -> NDArray[np.generic]:
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise BadImage("write the .npy file in format 1.0 or 2.0")
        shape, _, dtype = _HEADERS[version](stream)
        _check_shape(shape, max_pixels)
        if dtype.name not in (*_WIDTHS, "float32"):
            raise BadImage(f"pixels of type {dtype.name}; send uint8, uint16 or float32")
        stream.seek(0)
        array: NDArray[np.generic] = np.lib.format.read_array(stream, allow_pickle=False)
    except _DAMAGED as error:
        raise BadImage("the .npy file is damaged or cut off") from error
    return array


def _from_picture(content: bytes, max_pixels: int) -> NDArray[np.generic]:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            _check_shape((picture.height, picture.width), max_pixels)
            return _channels(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"the image has more than {max_pixels} pixels") from error
    except _DAMAGED as error:
        raise BadImage("the image is damaged or neither PNG, JPEG nor .npy") from error


def _channels(picture: Image.Image) -> NDArray[np.generic]:
    """Grey in its own depth, everything else as RGB; transparency is ignored."""
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode in ("L", "LA", "1"):
        return np.asarray(picture.convert("L"))
    return np.asarray(picture.convert("RGB"))


def _check_shape(shape: tuple[int, ...], max_pixels: int) -> None:
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or min(shape) < 1:
        raise BadImage("an image is (rows, columns) or (rows, columns, 3), with at least one pixel")
    if shape[0] * shape[1] > max_pixels:
        raise ImageTooLarge(
            f"the image has {shape[0]} x {shape[1]} pixels, more than {max_pixels}: "
            "send a smaller one, or raise sessions.max_image_pixels"
        )
