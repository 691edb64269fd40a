"""A compressed frame says where it ends: what lies behind is cut, what breaks off is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.datasets.codestreams import Codestream, reader_of
from dicom_node.errors import UndecodablePixels
from dicom_node.series.header import read_header
from dicom_node.values import SourceVolume
from dicom_node.volume.volume import load_volume
from tests.support import phantoms

SMALL: dict[str, Any] = {"shape": (3, 40, 48), "spacing_mm": (5.0, 8.0, 8.0)}

# One scan of JPEG Lossless (ITU-T T.81 annex H) with 16 bits: 2 x 2 pixels, selection value 1
_TINY_LOSSLESS = bytes.fromhex(
    "ffd8 ffc3000b 10 0002 0002 01 01 11 00 ffc40014 00 01000000000000000000000000000000 00 "
    "ffda0008 01 01 00 01 00 00"
    " 0f ffd9"
)


def volume_of(phantom: phantoms.Phantom) -> SourceVolume:
    return load_volume([read_header(path) for path in phantom.paths])


def lengthen(path: Path, behind: bytes) -> None:
    """Put bytes behind the end of the one frame, within its fragment."""
    ds = pydicom.dcmread(path)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame + behind])
    ds.save_as(path)


@pytest.mark.parametrize(
    "behind", [b"\0" * 64, b"\0" * 3, b"\xff\xd9" * 40, bytes(range(250)), b"\xff" * 50]
)
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_bytes_behind_the_end_do_no_harm(tmp_path: Path, syntax: UID, behind: Any) -> None:
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=syntax, **SMALL)
    for path in phantom.paths:
        lengthen(path, behind)

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_padded_frames_of_an_enhanced_object(tmp_path: Path, syntax: UID) -> None:
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=syntax, enhanced=True, **SMALL)
    ds = pydicom.dcmread(phantom.paths[0])
    frames = list(generate_frames(ds.PixelData, number_of_frames=3))
    behind = b"" if syntax == RLELossless else b"\0" * 70
    ds.PixelData = encapsulate([frame + behind for frame in frames], has_bot=False)
    ds.save_as(phantom.paths[0])

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_fragments_of_several_padded_frames_without_a_table(tmp_path: Path, syntax: UID) -> None:
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=syntax, enhanced=True, **SMALL)
    ds = pydicom.dcmread(phantom.paths[0])
    frames = [frame + b"\0" * 64 for frame in generate_frames(ds.PixelData, number_of_frames=3)]
    ds.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=False)
    ds.save_as(phantom.paths[0])

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


def test_frames_in_several_fragments(tmp_path: Path) -> None:
    phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=JPEGLSLossless, **SMALL)
    for path in phantom.paths:
        ds = pydicom.dcmread(path)
        (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
        ds.PixelData = encapsulate([frame + b"\0" * 64], fragments_per_frame=3)
        ds.save_as(path)

    assert np.array_equal(volume_of(phantom).intensities, phantom.hu)


def read(syntax: str, frame: bytes) -> Codestream:
    """What the frame says, as a frame of this transfer syntax."""
    reader = reader_of(syntax)
    assert reader is not None
    return reader(frame)


def test_a_lossless_jpeg_says_its_size_and_end() -> None:
    stream = read(JPEGLosslessSV1, _TINY_LOSSLESS + b"\0" * 64)

    assert (stream.rows, stream.columns, stream.components, stream.signed) == (2, 2, 1, None)
    assert stream.whole
    assert stream.frame == _TINY_LOSSLESS


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_a_jpeg_that_breaks_off_is_not_whole(cut: int) -> None:
    assert not read(JPEGLosslessSV1, _TINY_LOSSLESS[:-cut]).whole


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xc3\x00", b"BM" + b"\0" * 60],
)
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000])
def test_what_is_no_codestream_is_refused(frame: bytes, syntax: UID) -> None:
    with pytest.raises(UndecodablePixels, match="a compressed frame"):
        read(syntax, frame)


def test_native_pixels_and_rle_have_none() -> None:
    assert reader_of(RLELossless) is None
    assert reader_of("1.2.3") is None
