"""What the second opinion on a SEG must catch: each test damages a good file in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import ResultMismatch
from dicom_node.results.check_segmentation import check_segmentation
from dicom_node.results.segmentation import SegmentationWriter
from dicom_node.results.writers import write_result
from dicom_node.values import (
    Algorithm,
    Code,
    ResultContent,
    ResultIdentity,
    ResultSegment,
    SourceVolume,
)
from dicom_node.voxels import Voxels
from tests.support import phantoms

Damage = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def good(
    tmp_path_factory: pytest.TempPathFactory,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> tuple[SourceVolume, list[ResultSegment], Path]:
    """A volume, its liver and left kidney, and a SEG of them.

    The matrix does not fill whole bytes.
    """
    folder = tmp_path_factory.mktemp("good")
    phantom = phantoms.torso_ct(
        folder / "ct", shape=(40, 61, 53), spacing_mm=(5.0, 6.0, 6.0), orientation="oblique"
    )
    volume, segments = volume_of(phantom), drawn(phantom, "liver", "left kidney")
    return (
        volume,
        segments,
        write_result(
            SegmentationWriter(),
            ResultContent(volume, segments, (), algorithm, identity),
            folder / "seg.dcm",
        ).path,
    )


def pixels_of(seg: Dataset) -> NDArray[np.bool_]:
    """All frames (frame, row, column), unpacked at once."""
    size = seg.NumberOfFrames * seg.Rows * seg.Columns
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[:size]
    return bits.reshape(seg.NumberOfFrames, seg.Rows, seg.Columns).astype(bool)


def put_pixels(seg: Dataset, pixels: NDArray[np.bool_]) -> None:
    """Pack frames back, padded to an even number of bytes."""
    packed = np.packbits(pixels.reshape(-1), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)


def frames_of(seg: Dataset) -> Any:
    return seg.PerFrameFunctionalGroupsSequence


def mirrored_left_to_right(seg: Dataset) -> None:
    put_pixels(seg, pixels_of(seg)[:, :, ::-1])


def mirrored_top_to_bottom(seg: Dataset) -> None:
    put_pixels(seg, pixels_of(seg)[:, ::-1])


def bits_in_the_other_order(seg: Dataset) -> None:
    packed = np.packbits(pixels_of(seg).reshape(-1), bitorder="big").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)


def one_bit_flipped(seg: Dataset) -> None:
    data = bytearray(seg.PixelData)
    data[len(data) // 2] ^= 0b0001_0000
    seg.PixelData = bytes(data)


def pixel_data_cut_short(seg: Dataset) -> None:
    seg.PixelData = seg.PixelData[:-400]


def slices_in_reverse(seg: Dataset) -> None:
    positions = [group.PlanePositionSequence for group in frames_of(seg)]
    for group, position in zip(frames_of(seg), reversed(positions), strict=True):
        group.PlanePositionSequence = position


def two_slices_swapped(seg: Dataset) -> None:
    first, second = frames_of(seg)[3], frames_of(seg)[4]
    first.PlanePositionSequence, second.PlanePositionSequence = (
        second.PlanePositionSequence,
        first.PlanePositionSequence,
    )


def shifted_by_half_a_slice(seg: Dataset) -> None:
    shifted(seg, 2.4)


def shifted_by_a_fifth_of_a_millimetre(seg: Dataset) -> None:
    shifted(seg, 0.2)


def shifted(seg: Dataset, z_mm: float) -> None:
    for group in frames_of(seg):
        x, y, z = map(float, group.PlanePositionSequence[0].ImagePositionPatient)
        group.PlanePositionSequence[0].ImagePositionPatient = [x, y, round(z + z_mm, 6)]


def orientation(seg: Dataset) -> Any:
    return seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]


def axes_exchanged(seg: Dataset) -> None:
    cosines = list(orientation(seg).ImageOrientationPatient)
    orientation(seg).ImageOrientationPatient = cosines[3:] + cosines[:3]


def column_axis_negated(seg: Dataset) -> None:
    cosines = [float(part) for part in orientation(seg).ImageOrientationPatient]
    orientation(seg).ImageOrientationPatient = cosines[:3] + [-part for part in cosines[3:]]


def slightly_turned(seg: Dataset) -> None:
    cosines = np.array(orientation(seg).ImageOrientationPatient, dtype=float).reshape(2, 3)
    angle = np.deg2rad(0.2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    orientation(seg).ImageOrientationPatient = [
        round(float(part), 10) for part in (turn @ cosines).ravel()
    ]


def spacing_exchanged_for_another(seg: Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [6.0, 5.9]


def segments_swapped_in_frames(seg: Dataset) -> None:
    for group in frames_of(seg):
        item = group.SegmentIdentificationSequence[0]
        item.ReferencedSegmentNumber = 3 - item.ReferencedSegmentNumber


def segments_swapped_in_their_list(seg: Dataset) -> None:
    first, second = seg.SegmentSequence
    first.SegmentNumber, second.SegmentNumber = 2, 1
    seg.SegmentSequence = [second, first]


def a_segment_that_does_not_exist(seg: Dataset) -> None:
    frames_of(seg)[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 3


def laterality_lost(seg: Dataset) -> None:
    del (
        seg.SegmentSequence[1]
        .SegmentedPropertyTypeCodeSequence[0]
        .SegmentedPropertyTypeModifierCodeSequence
    )


def other_side(seg: Dataset) -> None:
    kind = seg.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0]
    kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue = "24028007"


def other_code(seg: Dataset) -> None:
    seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "78961009"


def other_category(seg: Dataset) -> None:
    seg.SegmentSequence[0].SegmentedPropertyCategoryCodeSequence[0].CodeValue = "49755003"


def other_tracking(seg: Dataset) -> None:
    seg.SegmentSequence[0].TrackingID = "spleen"


def a_frame_missing(seg: Dataset) -> None:
    put_pixels(seg, pixels_of(seg)[:-1])
    del frames_of(seg)[-1]
    seg.NumberOfFrames -= 1


def a_frame_twice(seg: Dataset) -> None:
    put_pixels(seg, np.concatenate([pixels_of(seg), pixels_of(seg)[-1:]]))
    frames_of(seg).append(frames_of(seg)[-1])
    seg.NumberOfFrames += 1


def more_frames_than_described(seg: Dataset) -> None:
    seg.NumberOfFrames += 1


def a_frame_without_a_place(seg: Dataset) -> None:
    del frames_of(seg)[2].PlanePositionSequence


def derived_from_another_image(seg: Dataset) -> None:
    items = [
        group.DerivationImageSequence[0].SourceImageSequence[0] for group in frames_of(seg)[:2]
    ]
    items[0].ReferencedSOPInstanceUID = items[1].ReferencedSOPInstanceUID


def indexed_as_of_another_segment(seg: Dataset) -> None:
    frames_of(seg)[0].FrameContentSequence[0].DimensionIndexValues[0] = 2


def two_slices_indexed_as_one(seg: Dataset) -> None:
    first, second = (group.FrameContentSequence[0] for group in frames_of(seg)[:2])
    second.DimensionIndexValues = first.DimensionIndexValues


def one_slice_indexed_apart(seg: Dataset) -> None:
    contents: dict[str, Dataset] = {}
    for group in frames_of(seg):
        contents.setdefault(str(group.PlanePositionSequence), group.FrameContentSequence[0])
    alone = [content for content in contents.values() if content.DimensionIndexValues[0] == 1]
    assert len(alone) + len(contents) < 2 * len(frames_of(seg)), "no slice has both segments"
    for content in alone:
        content.DimensionIndexValues[1] += 1000


def pixel_data_lost(seg: Dataset) -> None:
    del seg.PixelData


def derived_from_nothing(seg: Dataset) -> None:
    frames_of(seg)[0].DerivationImageSequence = []


def an_instance_not_referred_to(seg: Dataset) -> None:
    del seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]


def another_series_referred_to(seg: Dataset) -> None:
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"


def another_study(seg: Dataset) -> None:
    seg.StudyInstanceUID = "1.2.3"


def another_frame_of_reference(seg: Dataset) -> None:
    seg.FrameOfReferenceUID = "1.2.3"


def another_class(seg: Dataset) -> None:
    seg.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.5"


def a_segment_less(seg: Dataset) -> None:
    del seg.SegmentSequence[1]


DAMAGES: dict[Damage, str] = {
    mirrored_left_to_right: "wrong voxels of liver",
    mirrored_top_to_bottom: "wrong voxels of liver",
    bits_in_the_other_order: "wrong voxels of liver",
    one_bit_flipped: "1 wrong voxels",
    pixel_data_cut_short: "ends within frame",
    slices_in_reverse: "frame 1 derived from another image",
    two_slices_swapped: "frame 4 derived from another image",
    shifted_by_half_a_slice: "mm from the nearest slice",
    shifted_by_a_fifth_of_a_millimetre: "0.200 mm from the nearest slice",
    axes_exchanged: "turned or scaled",
    column_axis_negated: "turned or scaled",
    slightly_turned: "turned or scaled",
    spacing_exchanged_for_another: "turned or scaled",
    segments_swapped_in_frames: "wrong voxels",
    segments_swapped_in_their_list: "another code for segment 1|segment 1 out of order",
    a_segment_that_does_not_exist: "segment 3, which does not exist",
    laterality_lost: "another laterality",
    other_side: "another laterality",
    other_code: "another code for segment 1",
    other_category: "another category",
    other_tracking: "another tracking identifier",
    a_frame_missing: "no frame of left kidney",
    a_frame_twice: "two frames of one segment",
    more_frames_than_described: "descriptions of frames",
    a_frame_without_a_place: "without PlanePositionSequence",
    derived_from_another_image: "derived from another image",
    indexed_as_of_another_segment: "indexed as of another segment",
    two_slices_indexed_as_one: "frames of one slice indexed apart, or of several as one",
    one_slice_indexed_apart: "frames of one slice indexed apart, or of several as one",
    pixel_data_lost: "no pixel data",
    derived_from_nothing: "without DerivationImageSequence",
    an_instance_not_referred_to: "references to other instances",
    another_series_referred_to: "references to another series",
    another_study: "another study",
    another_frame_of_reference: "another frame of reference",
    another_class: "another SOP class",
    a_segment_less: "another number of segments",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_segmentation_is_refused(
    damage: Damage, good: tuple[SourceVolume, list[ResultSegment], Path], tmp_path: Path
) -> None:
    volume, segments, path = good
    seg = pydicom.dcmread(path)
    damage(seg)
    seg.save_as(tmp_path / "damaged.dcm")

    with pytest.raises(ResultMismatch, match=DAMAGES[damage]):
        check_segmentation(tmp_path / "damaged.dcm", volume, segments)


def test_positions_moved_together_with_their_sources_names_are_refused(
    good: tuple[SourceVolume, list[ResultSegment], Path], tmp_path: Path
) -> None:
    # Arrange: the stack upside down, consistently, so that only the voxels can tell
    volume, segments, path = good
    seg = pydicom.dcmread(path)
    kept = [
        (group.PlanePositionSequence, group.DerivationImageSequence) for group in frames_of(seg)
    ]
    for group, (position, source) in zip(frames_of(seg), reversed(kept), strict=True):
        group.PlanePositionSequence, group.DerivationImageSequence = position, source
    seg.save_as(tmp_path / "damaged.dcm")

    with pytest.raises(ResultMismatch, match=r"wrong voxels|two frames"):
        check_segmentation(tmp_path / "damaged.dcm", volume, segments)


def test_a_good_segmentation_passes_and_again_after_pydicom_wrote_it(
    good: tuple[SourceVolume, list[ResultSegment], Path], tmp_path: Path
) -> None:
    volume, segments, path = good
    pydicom.dcmread(path).save_as(tmp_path / "again.dcm")

    check_segmentation(path, volume, segments)
    check_segmentation(tmp_path / "again.dcm", volume, segments)


def test_a_segmentation_of_something_else_is_refused(
    good: tuple[SourceVolume, list[ResultSegment], Path],
) -> None:
    volume, segments, path = good
    liver = segments[0]
    moved = replace(liver, voxels=Voxels.of(np.roll(liver.voxels.whole(), 1, axis=2)))

    with pytest.raises(ResultMismatch, match="wrong voxels of liver"):
        check_segmentation(path, volume, [moved, segments[1]])
    with pytest.raises(ResultMismatch, match="another code for segment 1"):
        check_segmentation(
            path, volume, [replace(liver, type=Code("1", "99X", "else")), segments[1]]
        )


def test_uneven_slices_pass_where_their_source_states_them(
    tmp_path: Path,
    volume_of: Callable[[Any], SourceVolume],
    drawn: Callable[..., list[ResultSegment]],
    algorithm: Algorithm,
    identity: ResultIdentity,
) -> None:
    # Arrange: a table that stops a little early or late, as real ones do
    phantom = phantoms.torso_ct(tmp_path / "ct", moved_mm={9: 0.02, 14: -0.03})
    volume, segments = volume_of(phantom), drawn(phantom, "liver")

    written = write_result(
        SegmentationWriter(),
        ResultContent(volume, segments, (), algorithm, identity),
        tmp_path / "seg.dcm",
    )

    check_segmentation(written.path, volume, segments)
