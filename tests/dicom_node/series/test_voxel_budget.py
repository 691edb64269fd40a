"""What nobody has room for, and frames that are not there, are refused before a pixel is read."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless

from dicom_node.errors import UndecodablePixels
from tests.support import phantoms
from tests.support.dicom.scaled_series import SMALL, refusal, volume_of


class TestBudget:
    def test_pixels_that_nobody_has_room_for(self, tmp_path: Path) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        for path in phantom.paths:
            phantoms.rewrite(path, Rows=65535, Columns=65535)

        assert "Rows and Columns of instances 1-4 make 17,179" in refusal(phantom)

    @pytest.mark.parametrize("frames", [2, 1_000_000, 2_000_000_000])
    def test_frames_that_are_not_there(self, tmp_path: Path, frames: int) -> None:
        phantom = phantoms.torso_ct(tmp_path, **SMALL)
        phantoms.rewrite(phantom.paths[1], NumberOfFrames=frames)

        assert (
            f"Number of Frames is {frames}, but the pixel data holds at most 1 (instance 2)"
            in refusal(phantom)
        )

    def test_frames_that_no_group_places(self, tmp_path: Path) -> None:
        def edit(z: int, ds: Dataset) -> None:
            del ds.PerFrameFunctionalGroupsSequence[2:]

        phantom = phantoms.torso_ct(tmp_path, enhanced=True, edit=edit, **SMALL)

        assert "Number of Frames of instance 1 is 4, but functional groups place 2" in refusal(
            phantom
        )

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
    def test_a_codestream_that_promises_more_than_the_header(
        self, tmp_path: Path, syntax: UID
    ) -> None:
        phantom = phantoms.torso_ct(tmp_path, transfer_syntax_uid=syntax, **SMALL)
        ds = pydicom.dcmread(phantom.paths[0])
        (frame,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
        large = (60000).to_bytes(2)
        if syntax == JPEGLSLossless:
            at = frame.index(b"\xff\xf7") + 5
            frame = frame[:at] + large + large + frame[at + 4 :]
        else:
            frame = frame[:8] + (60000).to_bytes(4) + (60000).to_bytes(4) + frame[16:]
        ds.PixelData = encapsulate([frame])
        ds.save_as(phantom.paths[0])

        with pytest.raises(UndecodablePixels, match="60000 x 60000 pixels instead of 40 x 48"):
            volume_of(phantom)
