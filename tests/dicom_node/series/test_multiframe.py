"""Frames and their functional groups: where an attribute is looked for, and frames that no group
places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.errors import NotAVolume, UnusableValue
from dicom_node.series.header import read_header
from dicom_node.series.multiframe import FunctionalGroups, frame_planes, is_multiframe
from dicom_node.series.plane import Plane
from tests.support import phantoms

SLICES = 3
PLANES, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"


def item(**elements: Any) -> Dataset:
    """A data set with these elements."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def planes(folder: Path, edit: phantoms.Edit | None = None) -> list[Plane]:
    """The planes of an enhanced CT of three small frames, 5 mm apart."""
    phantom = phantoms.torso_ct(folder, shape=(SLICES, 8, 10), enhanced=True, edit=edit)
    header = read_header(phantom.paths[0])
    assert is_multiframe(header)
    return frame_planes(header)


def test_each_frame_has_its_plane_in_the_order_of_storage(tmp_path: Path) -> None:
    made = planes(tmp_path)

    assert [plane.source.frame_number for plane in made] == [1, 2, 3]
    heights = [plane.position_mm[2] for plane in made]
    np.testing.assert_allclose(np.diff(heights), 5.0)
    assert {plane.shape for plane in made} == {(8, 10)}
    assert {plane.pixel_spacing_mm for plane in made} == {(4.0, 4.0)}
    assert {plane.slice_thickness_mm for plane in made} == {5.0}
    assert made[0].spacing_between_slices_mm is None


def test_a_frames_own_group_goes_before_the_shared_one_and_the_data_set() -> None:
    ds = item(
        PixelSpacing=[9, 9],
        RescaleSlope=7,
        SharedFunctionalGroupsSequence=[
            item(PixelMeasuresSequence=[item(PixelSpacing=[2, 2], SliceThickness=3)])
        ],
        PerFrameFunctionalGroupsSequence=[
            item(PixelMeasuresSequence=[item(PixelSpacing=[1, 1])]),
            item(PixelMeasuresSequence=[item(PixelSpacing=None)]),  # empty says nothing
        ],
    )
    groups = FunctionalGroups(ds)

    assert groups.frames == 2
    assert groups.find("PixelMeasuresSequence", "PixelSpacing", 0) == MultiValue(float, [1, 1])
    assert groups.find("PixelMeasuresSequence", "PixelSpacing", 1) == MultiValue(float, [2, 2])
    assert groups.find("PixelMeasuresSequence", "SliceThickness", 0) == 3
    assert groups.find("PixelValueTransformationSequence", "RescaleSlope", 0) == 7
    assert groups.find("MREchoSequence", "EffectiveEchoTime", 0) is None
    # a frame beyond the last group is described by what all share
    assert groups.find("PixelMeasuresSequence", "PixelSpacing", 5) == MultiValue(float, [2, 2])


def test_what_tells_frames_apart_is_text(tmp_path: Path) -> None:
    def edit(_: int, ds: Dataset) -> None:
        kind = item(FrameType=["DERIVED", "PRIMARY", "VOLUME", "MIP"])
        ds.PerFrameFunctionalGroupsSequence[1].CTImageFrameTypeSequence = [kind]

    first, second, _ = planes(tmp_path, edit)

    assert second.phase["FrameType"] == "DERIVED\\PRIMARY\\VOLUME\\MIP"
    assert second.image_type == ("DERIVED", "PRIMARY", "VOLUME", "MIP")
    assert first.image_type == ("ORIGINAL", "PRIMARY", "VOLUME", "NONE")
    assert "FrameType" not in first.phase
    assert first.phase["SOPInstanceUID"] == second.phase["SOPInstanceUID"]


@pytest.mark.parametrize(
    "place",
    [
        None,
        [],
        [item()],
        [item(ImagePositionPatient=[1.0, 2.0])],  # two numbers place nothing
    ],
)
def test_frames_without_a_place_are_named(tmp_path: Path, place: list[Dataset] | None) -> None:
    def edit(_: int, ds: Dataset) -> None:
        group = ds.PerFrameFunctionalGroupsSequence[1]
        del group.PlanePositionSequence
        if place is not None:
            group.PlanePositionSequence = place

    with pytest.raises(NotAVolume, match=r"frame 2 of .*no place in the patient\. Export"):
        planes(tmp_path, edit)


def test_a_position_that_is_no_number_names_attribute_and_instance(tmp_path: Path) -> None:
    def edit(_: int, ds: Dataset) -> None:
        place = ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
        place.ImagePositionPatient = ["1", "2", "3"]

    path = phantoms.torso_ct(tmp_path, shape=(SLICES, 8, 10), enhanced=True, edit=edit).paths[0]
    content = path.read_bytes()
    assert content.count(b"1\\2\\3 ") == 1
    path.write_bytes(content.replace(b"1\\2\\3 ", b"1\\x\\3 "))

    with pytest.raises(UnusableValue, match=r"^Image Position \(Patient\) of instance 1 is"):
        frame_planes(read_header(path))


def test_more_frames_than_groups_are_refused_with_both_counts(tmp_path: Path) -> None:
    def edit(_: int, ds: Dataset) -> None:
        del ds.PerFrameFunctionalGroupsSequence[2:]

    with pytest.raises(UnusableValue, match=r"is 3, but functional groups place 2 of them"):
        planes(tmp_path, edit)
