"""How many frames so many bytes of pixel data can be."""

from __future__ import annotations

import struct

import pytest

from dicom_node.datasets.element_values import ElementValues, tag_of
from dicom_node.datasets.frame_count import frames_that_fit
from dicom_node.elements import EXPLICIT_LITTLE, Element, Elements, PixelBytes

NATIVE, JPEG, MPEG2, HEVC = (f"1.2.840.10008.1.2.{end}" for end in ("1", "4.70", "4.100", "4.107"))


def stated(**numbers: int) -> ElementValues:
    held = Elements(EXPLICIT_LITTLE)
    for keyword, number in numbers.items():
        held.add(tag_of(keyword), Element(b"US", struct.pack("<H", number), 2, EXPLICIT_LITTLE))
    return ElementValues(held)


GREY = stated(Rows=10, Columns=8, SamplesPerPixel=1, BitsAllocated=16)


@pytest.mark.parametrize(
    ("length_bytes", "frames"), [(0, 0), (159, 0), (160, 1), (161, 1), (800, 5)]
)
def test_native_frames_have_their_size_in_bytes(length_bytes: int, frames: int) -> None:
    assert frames_that_fit(PixelBytes(length_bytes), GREY, NATIVE) == frames


def test_single_bits_are_packed() -> None:
    mask = stated(Rows=10, Columns=8, SamplesPerPixel=1, BitsAllocated=1)

    assert frames_that_fit(PixelBytes(30), mask, NATIVE) == 3


def test_colour_may_be_subsampled_to_half() -> None:
    colour = stated(Rows=10, Columns=8, SamplesPerPixel=3, BitsAllocated=8)

    assert frames_that_fit(PixelBytes(240), colour, NATIVE) == 2


def test_without_a_size_every_bit_could_be_a_frame() -> None:
    assert frames_that_fit(PixelBytes(2), stated(), NATIVE) == 16
    assert frames_that_fit(PixelBytes(2), stated(Rows=0, Columns=8), NATIVE) == 2


@pytest.mark.parametrize(("fragments", "frames"), [(0, 0), (1, 0), (2, 1), (7, 6)])
def test_a_compressed_frame_has_a_fragment_behind_the_offset_table(
    fragments: int, frames: int
) -> None:
    assert frames_that_fit(PixelBytes(9999, fragments), GREY, JPEG) == frames


@pytest.mark.parametrize("syntax", [MPEG2, HEVC, "1.2.840.10008.1.2.4.92"])
def test_a_stream_of_many_frames_is_one_fragment(syntax: str) -> None:
    assert frames_that_fit(PixelBytes(9999, 2), GREY, syntax) == 9999


def test_no_pixel_data_is_no_frame() -> None:
    assert frames_that_fit(None, GREY, NATIVE) == 0
