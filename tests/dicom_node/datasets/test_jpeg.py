"""JPEG in every process that DICOM names, beside the pixels that were coded; damage is told."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from dicom_node.datasets.codecs import is_decodable, plugin_of
from dicom_node.datasets.stored_pixels import PixelFormat, stored_frames
from dicom_node.errors import UndecodablePixels
from dicom_node.reading_errors import parsing, quietly

SHAPE = (37, 51)


def coded(values: NDArray[Any], bits: int, predictor: int = 1) -> bytes:
    """A frame of JPEG Lossless; `values` are unsigned."""
    return bytes(
        imagecodecs.jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits)
    )


def dataset_of(frames: Sequence[bytes], syntax: UID, bits: int, *, signed: bool = False) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.Rows, ds.Columns, ds.NumberOfFrames = *SHAPE, len(frames)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    ds.PixelData = encapsulate(list(frames))
    ds["PixelData"].VR = "OB"
    return ds


def decoded(ds: Dataset) -> list[NDArray[Any]]:
    form = PixelFormat(
        *SHAPE, ds.BitsAllocated, ds.BitsStored, bool(ds.PixelRepresentation), inverted=False
    )
    count = int(ds.NumberOfFrames)
    with quietly(), parsing(UndecodablePixels, "it cannot be decoded"):
        return list(stored_frames(ds, form, count, range(count)))


def noise(bits: int, seed: int = 0) -> NDArray[np.generic]:
    values = np.random.default_rng(seed).integers(0, 1 << bits, SHAPE)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 13, 16])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_lossless_is_without_loss(bits: int, predictor: int) -> None:
    values = noise(bits)
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    (frame,) = decoded(dataset_of([coded(values, bits, predictor)], syntax, bits))

    assert np.array_equal(frame, values)


def test_frames_keep_their_order() -> None:
    slices = [noise(12, seed) for seed in range(3)]
    frames = [coded(values, 12) for values in slices]

    assert all(map(np.array_equal, decoded(dataset_of(frames, JPEGLosslessSV1, 12)), slices))


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_values_keep_their_sign(bits: int) -> None:
    values = noise(bits).astype(np.int32) - (1 << (bits - 1))
    stored = (values & ((1 << bits) - 1)).astype(np.uint16)
    (frame,) = decoded(dataset_of([coded(stored, bits)], JPEGLosslessSV1, bits, signed=True))

    assert np.array_equal(frame, values)


def test_twelve_bits_with_loss_are_read() -> None:
    ds = pydicom.dcmread(str(get_testdata_file("JPEG-lossy.dcm")))
    values = pixel_array(ds, raw=True, decoding_plugin=plugin_of(JPEGExtended12Bit))

    assert ds.file_meta.TransferSyntaxUID == JPEGExtended12Bit
    assert (values.shape, values.dtype) == ((1024, 256), np.uint16)
    assert 255 < values.max() < 4096


@pytest.mark.parametrize("cut", [10, 100, 1000])
def test_what_is_missing_is_not_made_up(cut: int) -> None:
    """The marker of the end is there, the data before it is not."""
    whole = coded(noise(16), 16)
    broken = whole[: -2 - cut] + whole[-2:]

    with pytest.raises(UndecodablePixels, match="cannot be decoded"):
        decoded(dataset_of([broken], JPEGLosslessSV1, 16))


def test_what_was_put_in_between_is_not_left_out() -> None:
    whole = coded(noise(16), 16)

    with pytest.raises(UndecodablePixels, match="cannot be decoded"):
        decoded(dataset_of([whole[:-2] + b"\1" * 20 + whole[-2:]], JPEGLosslessSV1, 16))


@pytest.mark.parametrize("fill", [b"", b"\xff", b"\xff" * 7])
def test_fill_bytes_before_a_marker_are_sound(fill: bytes) -> None:
    values = noise(16)
    whole = coded(values, 16)
    (frame,) = decoded(dataset_of([whole[:-2] + fill + whole[-2:]], JPEGLosslessSV1, 16))

    assert np.array_equal(frame, values)


def test_more_bits_than_are_allocated() -> None:
    ds = dataset_of([coded(noise(12), 12)], JPEGLosslessSV1, 8)

    with pytest.raises(UndecodablePixels, match="cannot be decoded"):
        decoded(ds)


def test_fewer_bits_than_are_allocated() -> None:
    values = noise(8)
    (frame,) = decoded(dataset_of([coded(values, 8)], JPEGLosslessSV1, 12))

    assert np.array_equal(frame, values)


def test_hostile_frames_end_in_values_or_a_sentence() -> None:
    dice = random.Random(1)
    sources = [coded(noise(bits), bits, predictor) for bits in (8, 16) for predictor in (1, 4, 7)]
    refused = 0
    for number in range(600):
        frame = bytearray(sources[number % len(sources)])
        for _ in range(dice.choice([1, 2, 8])):
            frame[dice.randrange(2, len(frame))] = dice.choice([0, 1, 0x7F, 0xC4, 0xD9, 0xFF])
        try:
            decoded(dataset_of([bytes(frame)], JPEGLossless, 16))
        except UndecodablePixels:
            refused += 1

    assert 0 < refused < 600


def test_colours_come_as_they_are_coded() -> None:
    ds = pydicom.dcmread(str(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm")))
    ours = pixel_array(ds, decoding_plugin=plugin_of(ds.file_meta.TransferSyntaxUID))
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)

    assert ds.PhotometricInterpretation == "YBR_FULL"
    assert np.abs(ours.astype(int) - imagecodecs.jpeg8_decode(frame).astype(int)).max() <= 2


@pytest.mark.parametrize("end", ["50", "51", "57", "70", "80", "81", "90", "91", "201", "203"])
def test_one_codec_for_each_syntax(end: str) -> None:
    """Named, so that another package's plugin never takes its place."""
    assert plugin_of(f"1.2.840.10008.1.2.4.{end}")
    assert is_decodable(f"1.2.840.10008.1.2.4.{end}")
