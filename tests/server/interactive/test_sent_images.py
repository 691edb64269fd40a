"""Images as clients send them, hostile ones too: read to the last bit, or refused before they cost
anything.
"""

from __future__ import annotations

import base64
import io
import pickle
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from server.errors import BadImage, ImageTooLarge
from server.interactive.images import SentImage
from server.interactive.wire import image_of

MOST = 100_000


def read(text: str) -> NDArray[np.float32]:
    return image_of(text).pixels(MOST)


def file_of(picture: Image.Image, kind: str = "PNG") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def test_grey_is_read_in_its_own_depth(png: Callable[..., str]) -> None:
    grey = np.array([[0, 51], [102, 255]], np.uint8)
    deep = np.array([[0, 1], [32768, 65535]], np.uint16)

    assert read(png(grey)) == pytest.approx(np.array([[0, 0.2], [0.4, 1]]))
    assert read(png(deep)) == pytest.approx(np.array([[0, 1 / 65535], [32768 / 65535, 1]]))
    assert read(png(deep)).dtype == np.float32


@pytest.mark.parametrize(
    ("picture", "pixel"),
    [
        (Image.new("RGB", (2, 1), (255, 0, 51)), [1.0, 0.0, 0.2]),
        (Image.new("RGBA", (2, 1), (255, 0, 51, 0)), [1.0, 0.0, 0.2]),
        (Image.new("P", (2, 1), 0), [0.0, 0.0, 0.0]),
        (Image.new("L", (2, 1), 51), 0.2),
        (Image.new("LA", (2, 1), (51, 9)), 0.2),
        (Image.new("1", (2, 1), 1), 1.0),
    ],
    ids=["RGB", "RGBA", "palette", "grey", "grey with alpha", "bits"],
)
def test_every_kind_of_png_is_read(picture: Image.Image, pixel: object) -> None:
    pixels = read(file_of(picture))

    assert pixels.shape[:2] == (1, 2)
    assert pixels[0, 1] == pytest.approx(pixel)


def test_a_jpeg_is_read_nearly() -> None:
    pixels = read(file_of(Image.new("RGB", (16, 8), (200, 100, 50)), "JPEG"))

    assert pixels.shape == (8, 16, 3)
    assert pixels[4, 8] * 255 == pytest.approx(np.array([200, 100, 50]), abs=3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "<f4", ">f4", ">u2"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_an_array_is_read(npy: Callable[..., str], dtype: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, dtype)
    array[1, 2] = 1

    pixels = read(npy(array))

    most = {"uint8": 255, "uint16": 65535, ">u2": 65535}.get(dtype, 1)
    assert pixels.shape == shape
    assert pixels.dtype == np.float32
    assert pixels.max() == pytest.approx(1 / most)


@pytest.mark.parametrize(
    "array",
    [
        np.full((2, 2), np.nan, np.float32),
        np.full((2, 2), np.inf, np.float32),
        np.full((2, 2), 1.5, np.float32),
        np.full((2, 2), -0.1, np.float32),
        np.zeros((2, 2), np.float64),
        np.zeros((2, 2), np.int16),
        np.zeros((2, 2), np.complex64),
        np.zeros((2, 2), [("a", "u1")]),
        np.zeros((0, 2), np.uint8),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((2, 2, 1), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.uint8(3),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_no_image_is_refused(npy: Callable[..., str], array: NDArray[Any]) -> None:
    with pytest.raises(BadImage):
        read(npy(array))


def test_nothing_is_unpickled(npy: Callable[..., str]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("unpickled",))

    header = npy(np.array([[None]], dtype=object), allow_pickle=True)
    content = base64.b64decode(header)[:128] + pickle.dumps(Trap())

    with pytest.raises(BadImage):
        SentImage(content).pixels(MOST)


def test_a_size_is_refused_before_anything_is_unpacked(npy: Callable[..., str]) -> None:
    # the header says a terabyte, the file ends after it
    said = npy(np.zeros((1, 1), np.uint8))
    header = base64.b64decode(said)[:-1].replace(b"(1, 1)", b"(1000000, 1000000)")
    header = header.replace(b" " * 12, b"", 1)  # the header keeps its length

    with pytest.raises(ImageTooLarge):
        SentImage(header).pixels(MOST)


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        (b"\x93NUMPY\x01", b"\x93NUMPY\x00"),  # a version that never was
        (b"\x93NUMPY\x01", b"\x93NUMPY\x03"),
        (b"}", b"("),  # a header that does not end
        (b"'descr'", b"'des\0r'"),
        (b"'descr': ", b"((((((((("),
    ],
)
def test_a_header_that_is_none_is_refused(
    npy: Callable[..., str], there: bytes, instead: bytes
) -> None:
    content = base64.b64decode(npy(np.zeros((2, 2), np.uint8)))
    assert there in content

    with pytest.raises(BadImage):
        SentImage(content.replace(there, instead)).pixels(MOST)


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


@pytest.mark.parametrize("side", [400, 60_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")

    with pytest.raises(ImageTooLarge, match="pixels"):
        SentImage(bomb).pixels(MOST)


def test_a_bomb_of_words_is_refused() -> None:
    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    words = b"a\0\0" + zlib.compress(bytes(200_000_000))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"zTXt", words)

    with pytest.raises(BadImage):
        SentImage(content).pixels(MOST)


@pytest.mark.parametrize(
    "text",
    ["not base64", "AAA", "\u00e4\u00f6", "AAAA\n", "data:image/png;base64", "QUJD", ""],
)
def test_text_that_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(BadImage):
        read(text)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused(kind: str) -> None:
    with pytest.raises(BadImage):
        read(file_of(Image.new("L", (2, 2)), kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "npy"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_refused_or_harmless(
    npy: Callable[..., str], kind: str, data: st.DataObject
) -> None:
    y, x = np.mgrid[:16, :16]
    pixels = (x * 16 + y).astype(np.uint8)
    whole = npy(pixels) if kind == "npy" else file_of(Image.fromarray(pixels), kind)
    content = bytearray(base64.b64decode(whole))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]

    try:
        pixels = SentImage(bytes(content)).pixels(MOST)
    except (BadImage, ImageTooLarge):
        return

    assert pixels.dtype == np.float32
    assert 0.0 <= pixels.min() <= pixels.max() <= 1.0
