"""An instance that came twice is taken once, however the copies are written.

And a series is one whatever its digits.
"""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import NotAVolume
from dicom_node.series.choice import choose_series
from dicom_node.series.header import read_header
from dicom_node.values import SourceVolume
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (6, 10, 12), "spacing_mm": (5.0, 20.0, 18.0)}


def volume_in(folder: Path) -> SourceVolume:
    headers = [read_header(path) for path in sorted(folder.rglob("*.dcm"))]
    return load_volume(choose_series(headers).headers)


def with_sequence(z: int, ds: Dataset) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "SCT", "odd"
    ds.AnatomicRegionSequence = Sequence([item])
    ds.add_new(0x00091001, "UN", b"secret")


def other_meta(path: Path) -> bytes:
    ds = pydicom.dcmread(path)
    ds.file_meta.SourceApplicationEntityTitle = "OTHER"
    ds.preamble = b"II" * 64
    return written(ds)


def implicit(path: Path) -> bytes:
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return written(ds, implicit_vr=True, little_endian=True)


def trailing_padding(path: Path) -> bytes:
    ds = pydicom.dcmread(path)
    ds.add_new(0xFFFCFFFC, "OB", bytes(10))
    return written(ds)


def group_length(path: Path) -> bytes:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<L", content, 140)
    begin = 144 + length
    return content[:begin] + struct.pack("<HH2sHL", 8, 0, b"UL", 4, 300) + content[begin:]


def written(ds: Dataset, **options: Any) -> bytes:
    buffer = BytesIO()
    ds.save_as(buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("change", [other_meta, implicit, group_length, trailing_padding])
def test_a_copy_that_is_written_otherwise(tmp_path: Path, change: Any) -> None:
    phantom = phantoms.torso_ct(tmp_path, edit=with_sequence, **SMALL)
    copy = change(phantom.paths[2])
    assert copy != phantom.paths[2].read_bytes()
    (tmp_path / "copy.dcm").write_bytes(copy)

    volume = volume_in(tmp_path)

    assert volume.intensities.shape == (6, 10, 12)
    assert volume.warnings == ("Counted once although sent twice: instance 3.",)


@pytest.mark.parametrize(
    "change",
    [{"Rows": 10, "SliceThickness": 4}, {"PixelData": bytes(240)}, {"PatientComments": "x"}],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_copy_that_says_something_else(
    tmp_path: Path, change: dict[str, Any], syntax: str
) -> None:
    phantom = phantoms.torso_ct(tmp_path, edit=with_sequence, **SMALL)
    ds = pydicom.dcmread(phantom.paths[2])
    for keyword, value in change.items():
        setattr(ds, keyword, value)
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.save_as(
        tmp_path / "copy.dcm", implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True
    )

    with pytest.raises(NotAVolume, match=r"same SOP Instance UID .*instance 3"):
        volume_in(tmp_path)


def test_pixel_spacing_that_differs_in_its_last_digit(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, shape=(6, 10, 12), spacing_mm=(5, 0.9765625, 0.9765625))
    for path, text in zip(
        phantom.paths, ("0.976563", "0.97656", "0.9766", "0.977", "0.9765", "0.97650"), strict=True
    ):
        phantoms.rewrite(path, PixelSpacing=[text, text])

    assert volume_in(tmp_path).intensities.shape == (6, 10, 12)
    phantoms.rewrite(phantom.paths[3], PixelSpacing=["0.98", "0.98"])
    with pytest.raises(NotAVolume, match="2 pixel spacings"):
        volume_in(tmp_path)
