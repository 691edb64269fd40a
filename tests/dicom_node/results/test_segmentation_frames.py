"""Frames read one at a time from the file are those that pydicom decodes all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from dicom_node.results.check_segmentation import source_origins
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.segmentation_frames import FramesOnSlices
from dicom_node.results.writers import write_result
from dicom_node.values import Algorithm, ResultContent, ResultIdentity, ResultSegment, SourceVolume
from tests.support import phantoms


def test_pixels_places_and_segments_are_those_of_the_file(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> None:
    # Arrange: frames that end within a byte
    phantom = phantoms.torso_ct(tmp_path / "ct", shape=(20, 61, 53), spacing_mm=(5.0, 6.0, 6.0))
    volume, segments = volume_of(phantom), drawn(phantom, "liver", "spleen")
    content = ResultContent(volume, segments, (), algorithm, identity)
    path = write_result(SegmentationWriter(), content, tmp_path / "seg.dcm").path
    whole = pydicom.dcmread(path)

    # Act: nothing but the description is read before the first frame is looked at
    with path.open("rb") as file:
        seg = pydicom.dcmread(file, stop_before_pixels=True)
        frames = list(FramesOnSlices(seg, file, volume, source_origins(volume)))

    # Assert
    assert [frame.number for frame in frames] == list(range(1, whole.NumberOfFrames + 1))
    assert {frame.segment for frame in frames} == {0, 1}
    for frame, pixels, group in zip(
        frames, whole.pixel_array, whole.PerFrameFunctionalGroupsSequence, strict=True
    ):
        assert np.array_equal(frame.pixels, pixels)
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(frame.to_lps_mm[:, 0], [float(part) for part in position])
        assert np.array_equal(frame.pixels, segments[frame.segment].voxels.plane(frame.z))
        assert frame.indices == list(group.FrameContentSequence[0].DimensionIndexValues)
