"""No sentence that a person reads has a word of Python in it, whatever one attribute of a file
says.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from dicom_node.errors import DicomNodeError
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

# Attributes that reading and decoding depend on, each with values that are wrong in their own way
_BINARY = [b"", b"\xff\xff", b"\x00\x00", b"\x10\x00\x10\x00", b"\x10", b"sixteen!", b"\x00" * 3]
_TEXT = [
    b"", b"NaN", b"1e400", b"-inf", b"0,5", b"0,5\\0,5", b"1\\2\\3\\4\\5\\6\\7", b"\\", b"Mueller^Anna",
    b"\xff\xfe\x80", b"99999999999999999999999", b"-1", b"1_0", b"()", b"\x1b[31m", b"None",
]  # fmt: skip
CASES = [
    *(
        (keyword, value)
        for keyword in (
            "BitsAllocated", "BitsStored", "Columns", "HighBit", "PixelRepresentation", "PixelPaddingRangeLimit",
            "PixelPaddingValue", "Rows", "SamplesPerPixel",
        )
        for value in _BINARY
    ),
    *(
        (keyword, value)
        for keyword in (
            "AcquisitionNumber", "GantryDetectorTilt", "ImageOrientationPatient", "ImagePositionPatient", "ImageType",
            "InstanceNumber", "Modality", "NumberOfFrames", "PhotometricInterpretation", "PixelSpacing",
            "RescaleIntercept", "RescaleSlope", "RescaleType", "SliceThickness", "TemporalPositionIdentifier", "Units",
        )
        for value in _TEXT
    ),
]  # fmt: skip
_PYTHON = re.compile(
    r"\b\w*(Error|Exception|Warning)\b|argument|object has no|NoneType|Traceback|codec can|literal|zip\(|int\(\)|float\(|"
    r"unpack|subscript|\bbuiltin|<class|dtype|not enough values|pydicom|numpy"
)
_LINES = re.compile(r"[\x00-\x1f]")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> phantoms.Phantom:
    """A CT of three slices, as bytes by path."""
    folder = tmp_path_factory.mktemp("sound")
    return phantoms.torso_ct(folder, shape=(3, 16, 16), spacing_mm=(5.0, 24.0, 24.0))


@pytest.mark.parametrize(("keyword", "value"), CASES)
def test_one_broken_attribute(sound: phantoms.Phantom, keyword: str, value: Any) -> None:
    path = sound.paths[1]
    whole = path.read_bytes()
    vr = "US" if "Padding" in keyword else ""
    phantoms.patch(path, keyword, value, vr)
    try:
        said = outcome(sound.paths)
    finally:
        path.write_bytes(whole)

    for sentence in said:
        assert not _PYTHON.search(sentence), sentence
        assert not _LINES.search(sentence), sentence
        assert "Mueller" not in sentence
        assert "damaged" not in sentence


@pytest.mark.parametrize(
    ("keyword", "value", "name"),
    [
        ("RescaleIntercept", b"minus", "Rescale Intercept of instance 2"),
        ("RescaleSlope", b"0", "Rescale Slope of instance 2"),
        ("BitsAllocated", b"\x0b\x00", "Bits Allocated of instance 2"),
        ("BitsStored", b"\x63\x00", "Bits Stored of instance 2"),
        ("HighBit", b"\x0b\x00", "High Bit of instance 2"),
        ("PixelRepresentation", b"\x07\x00", "Pixel Representation of instance 2"),
        ("PhotometricInterpretation", b"RGB", "Photometric Interpretation of instance 2"),
        ("SamplesPerPixel", b"\x03\x00", "Samples per Pixel of instance 2"),
        ("RescaleType", b"Z_EFF", "Rescale Type of instance 2"),
        ("PixelSpacing", b"wide", "Pixel Spacing is missing or unreadable in instance 2"),
        ("ImagePositionPatient", b"1\\2", "Image Position (Patient) is missing or unreadable"),
    ],
)
def test_the_attribute_is_named(
    sound: phantoms.Phantom, keyword: str, value: bytes, name: str
) -> None:
    path = sound.paths[1]
    whole = path.read_bytes()
    phantoms.patch(path, keyword, value)
    try:
        (sentence,) = outcome(sound.paths)
    finally:
        path.write_bytes(whole)

    assert name in sentence


def outcome(paths: Any) -> list[str]:
    """What a person is told: the refusal, or the warnings."""
    try:
        choice = choose_series([read_header(path) for path in paths])
        return [*choice.warnings, choice.explanation, *load_volume(choice.headers).warnings]
    except DicomNodeError as error:
        return [str(error)]
