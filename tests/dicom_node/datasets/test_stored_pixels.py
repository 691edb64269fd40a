"""Stored values of a frame: the format that is stated, the bytes that must be there."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.datasets.codestreams import Codestream
from dicom_node.datasets.stored_pixels import (
    checked,
    compressed_frames,
    grey_format,
    make_decodable,
    refuse_colour,
    stored_frames,
)
from dicom_node.errors import UndecodablePixels, UnusableValue

SHAPE = (3, 4)
VALUES = np.arange(-6, 18, dtype=np.int16).reshape(2, *SHAPE)  # two frames


def image(**changes: object) -> Dataset:
    """Two frames of signed 16-bit values, as explicit VR little endian; None takes out."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PhotometricInterpretation, ds.SamplesPerPixel = "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 1
    ds.PixelData = VALUES.tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def test_a_format_is_what_the_header_says() -> None:
    form = grey_format(image(PhotometricInterpretation="MONOCHROME1"), SHAPE)

    assert (form.rows, form.columns) == SHAPE
    assert (form.bits_allocated, form.bits_stored, form.signed) == (16, 12, True)
    assert form.inverted


def test_what_a_header_leaves_out_is_unsigned_grey_of_all_bits() -> None:
    lacking = image(
        PhotometricInterpretation=None, BitsStored=None, HighBit=None, PixelRepresentation=None
    )

    form = grey_format(lacking, SHAPE)

    assert (form.bits_stored, form.signed, form.inverted) == (16, False, False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"BitsAllocated": None}, "Bits Allocated is missing: pixels have 8, 16 or 32 bits"),
        ({"BitsAllocated": 12}, "Bits Allocated is 12"),
        ({"BitsStored": 17}, "Bits Stored is 17 with 16 Bits Allocated"),
        ({"HighBit": 15}, "High Bit is 15 with 12 Bits Stored"),
        ({"PixelRepresentation": 2}, "Pixel Representation is 2"),
        ({"PhotometricInterpretation": "RGB"}, "Photometric Interpretation is RGB"),
        ({"SamplesPerPixel": 3}, "Samples per Pixel is 3"),
    ],
)
def test_what_no_decoder_could_use_is_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UnusableValue, match=sentence):
        grey_format(image(**changes), SHAPE)


def test_a_file_without_pixels_is_said_to_end_early() -> None:
    with pytest.raises(UndecodablePixels, match="the file ends before its pixel data"):
        grey_format(image(PixelData=None), SHAPE)


def test_palettes_are_no_measured_quantity() -> None:
    with pytest.raises(UnusableValue, match="PALETTE COLOR, which is no grey"):
        refuse_colour("PALETTE COLOR", 1)
    refuse_colour("MONOCHROME2", None)


@pytest.mark.parametrize("indices", [(0, 1), (1,)])
def test_the_frames_asked_for_have_their_stored_values(indices: tuple[int, ...]) -> None:
    ds = image()

    frames = list(stored_frames(ds, grey_format(ds, SHAPE), 2, indices))

    assert len(frames) == len(indices)
    for frame, index in zip(frames, indices, strict=True):
        np.testing.assert_array_equal(frame, VALUES[index])


def test_fewer_bytes_than_frames_are_not_filled() -> None:
    ds = image(PixelData=VALUES.tobytes()[:-2])

    with pytest.raises(UndecodablePixels, match="it ends after 46 of 48 bytes"):
        list(stored_frames(ds, grey_format(ds, SHAPE), 2, (0,)))


def test_a_single_image_is_brought_to_what_a_decoder_reads() -> None:
    colour = image(PhotometricInterpretation="RGB", SamplesPerPixel=3, PixelRepresentation=0)
    colour.BitsAllocated, colour.BitsStored, colour.HighBit = 8, 8, 3  # a high bit that is none

    make_decodable(colour, SHAPE)

    assert (colour.Rows, colour.Columns, colour.HighBit) == (3, 4, 7)
    assert colour.NumberOfFrames == 1


def test_samples_that_no_interpretation_has_are_refused() -> None:
    with pytest.raises(UnusableValue, match="is MONOCHROME2 with 3 Samples per Pixel"):
        make_decodable(image(SamplesPerPixel=3), SHAPE)


def compressed(*frames: bytes, fragments: int = 1) -> Dataset:
    """Frames of so many fragments each, without an offset table."""
    ds = image(PixelData=encapsulate(list(frames), fragments_per_frame=fragments, has_bot=False))
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return ds


def test_each_frame_begins_with_its_formats_marker() -> None:
    first, second = b"\xff\xd8\xff\xdb1st.", b"\xff\xd8\xff\xdbsecond"

    assert compressed_frames(compressed(first, second, fragments=2), 2) == [first, second]


def test_frames_that_are_missing_are_counted() -> None:
    with pytest.raises(UndecodablePixels, match="it holds 1 of 2 frames"):
        compressed_frames(compressed(b"\xff\xd8\xff\xdb alone."), 2)


def stream(*, signed: bool | None = None, whole: bool = True, rows: int = 3) -> Codestream:
    return Codestream(rows, 4, 1, signed=signed, frame=b"data", whole=whole)


def test_a_compressed_frame_has_the_images_size() -> None:
    assert checked(stream(), SHAPE, 1) == stream()
    with pytest.raises(UndecodablePixels, match="has 5 x 4 pixels instead of 3 x 4"):
        checked(stream(rows=5), SHAPE, 1)
    with pytest.raises(UndecodablePixels, match="has 1 samples a pixel instead of 3"):
        checked(stream(), SHAPE, 3)


def test_one_that_breaks_off_is_refused_where_its_decoder_would_fill_it() -> None:
    with pytest.raises(UndecodablePixels, match="breaks off before its end"):
        checked(stream(whole=False), SHAPE, 1)
    # decoders of JPEG 2000, whose codestreams say their sign, notice it themselves
    assert checked(stream(whole=False, signed=False), SHAPE, 1)
