"""Anybody's SEG lies on its source voxel for voxel, or is refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, generate_uid

from dicom_node.annotations.segmentation_masks import read_segmentation_header, read_segments
from dicom_node.errors import UnusableAnnotation
from dicom_node.values import Code, ResultSegment, SourceVolume
from tests.support import phantoms, pictures

Ours = Callable[..., tuple[Path, SourceVolume, list[ResultSegment]]]
"""The options of a phantom to the file, the volume and the structures of our SEG of it."""


@pytest.fixture
def ours(
    tmp_path: Path,
    volume_of: Any,
    drawn: Callable[..., list[ResultSegment]],
    write: Callable[..., Dataset],
) -> Ours:
    """Our own SEG of a phantom: its file, its volume and the masks that were written."""

    def make(**options: Any) -> tuple[Path, SourceVolume, list[ResultSegment]]:
        defaults: dict[str, Any] = {"shape": (24, 47, 51), "shuffle": 5}
        phantom = phantoms.torso_ct(tmp_path / "ct", **(defaults | options))
        volume = volume_of(phantom)
        structures = drawn(phantom, "liver", "spleen", "right kidney")
        write(volume, structures)
        return tmp_path / "out" / "seg.dcm", volume, structures

    return make


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (24, 96, 96)},
        {"shape": (24, 61, 67)},  # frames that end within a byte
        {"shape": (24, 96, 96), "orientation": "oblique"},
        {"shape": (60, 60, 60), "spacing_mm": (5.0, 5.0, 5.0), "orientation": "sagittal"},
        {"shape": (24, 96, 96), "enhanced": True},
    ],
    ids=str,
)
def test_what_the_node_wrote_is_read_again_to_the_voxel(ours: Ours, options: Any) -> None:
    path, volume, structures = ours(**options)

    segments = read_segments(path, volume)

    assert [s.label for s in segments] == ["liver", "spleen", "right kidney"]
    for segment, structure in zip(segments, structures, strict=True):
        np.testing.assert_array_equal(segment.voxels, structure.voxels.whole())
    assert segments[2].type == Code("64033007", "SCT", "Kidney")
    assert segments[2].laterality == Code("24028007", "SCT", "Right")
    assert {s.automatic for s in segments} == {True}
    header = read_segmentation_header(path)
    assert header.by_segnode
    assert header.series_instance_uid == volume.series_instance_uid


def test_a_radiograph_is_drawn_on_pixel_on_pixel(
    tmp_path: Path, volume_of: Any, drawn: Any, write: Any
) -> None:
    image = pictures.picture(tmp_path / "in")
    other = pictures.picture(tmp_path / "in", name="other")
    volume, another = (volume_of(type("Files", (), {"paths": [p.path]})) for p in (image, other))
    figure = type("Figure", (), {"masks": {"liver": image.mask[None]}})
    write(volume, drawn(figure, "liver"))
    path = tmp_path / "out" / "seg.dcm"

    (segment,) = read_segments(path, volume)

    np.testing.assert_array_equal(segment.voxels, image.mask[None])
    with pytest.raises(UnusableAnnotation, match=r"frame 1 of seg\.dcm was drawn on another image"):
        read_segments(path, another)
    smaller = replace(volume, intensities=volume.intensities[:, 1:])
    with pytest.raises(UnusableAnnotation, match="is of another size than its image"):
        read_segments(path, smaller)


def test_a_readers_segmentation_agrees_with_another_reader_of_it(
    shared_data: Path, volume_of: Any
) -> None:
    # Arrange: dcmqi's liver, drawn by hand in 3D Slicer
    folder = shared_data / "odd_dicom" / "dcmqi_ct3slice_liverSEG"
    slices = [folder / f"0{n}.dcm" for n in (1, 2, 3)]
    volume = volume_of(type("Files", (), {"paths": slices}))

    # Act
    (liver,) = read_segments(folder / "liver.dcm", volume)

    # Assert: highdicom's own way, whose slices go down
    theirs = highdicom.seg.segread(folder / "liver.dcm").get_volume()
    np.testing.assert_array_equal(liver.voxels, theirs.array[::-1, :, :, 0] > 0)
    assert liver.voxels.sum(axis=(1, 2)).tolist() == [36233, 35645, 35220]
    assert (liver.label, liver.automatic) == ("Liver", False)


def edited(path: Path, change: Any) -> Path:
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    return path


def mirrored(ds: Any) -> None:
    """The same mask with its columns stored the other way round."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    cosines = [float(c) for c in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    spacing = float(shared.PixelMeasuresSequence[0].PixelSpacing[1])
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [
        *(-c for c in cosines[:3]),
        *cosines[3:],
    ]
    for group in ds.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        far = np.array(place.ImagePositionPatient, dtype=float)
        far += np.array(cosines[:3]) * spacing * (ds.Columns - 1)
        place.ImagePositionPatient = [f"{value:.6f}" for value in far]
    frames = ds.pixel_array.reshape(ds.NumberOfFrames, ds.Rows, ds.Columns)
    packed = np.packbits(frames[:, :, ::-1].ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)


def cropped(ds: Any) -> None:
    """The same mask without its first five rows and four columns, as box-shaped SEGs are."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    frames = ds.pixel_array.reshape(ds.NumberOfFrames, ds.Rows, ds.Columns)[:, 5:, 4:]
    for group in ds.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        corner = np.array(place.ImagePositionPatient, dtype=float)
        corner += 4 * across * cosines[:3] + 5 * down * cosines[3:]
        place.ImagePositionPatient = [f"{value:.6f}" for value in corner]
    ds.Rows, ds.Columns = frames.shape[1:]
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)


@pytest.mark.parametrize(("change", "first"), [(mirrored, (0, 0)), (cropped, (5, 4))])
def test_frames_go_where_their_own_groups_say(ours: Ours, change: Any, first: Any) -> None:
    path, volume, structures = ours(shape=(24, 61, 67))

    segments = read_segments(edited(path, change), volume)

    for segment, structure in zip(segments, structures, strict=True):
        expected = structure.voxels.whole().copy()
        expected[:, : first[0]] = expected[:, :, : first[1]] = False
        np.testing.assert_array_equal(segment.voxels, expected)


def in_bytes(ds: Any, stored: Any) -> None:
    """Frames (n, rows, columns) uint8 as the pixels."""
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = stored.tobytes() + b"\0" * (stored.size % 2)
    ds["PixelData"].VR = "OB"


def as_label_map(ds: Any) -> None:
    """Pixels that hold the segment's number, frames that do not name it (PS3.3 A.51.5.1)."""
    frames = ds.pixel_array.reshape(ds.NumberOfFrames, ds.Rows, ds.Columns).astype(np.uint8)
    for frame, group in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        identification = group.get("SegmentIdentificationSequence")
        number = (identification or [ds.SegmentSequence[0]])[0]
        frame *= number.get("ReferencedSegmentNumber") or number.SegmentNumber
        if identification:
            del group.SegmentIdentificationSequence
    ds.SegmentationType = "LABELMAP"
    in_bytes(ds, frames)


def compressed(ds: Any) -> None:
    """Fractional, every pixel all or nothing, run-length encoded."""
    frames = ds.pixel_array.reshape(ds.NumberOfFrames, ds.Rows, ds.Columns).astype(np.uint8)
    ds.SegmentationType, ds.MaximumFractionalValue = "FRACTIONAL", 255
    in_bytes(ds, frames * np.uint8(255))
    ds.compress(RLELossless, generate_instance_uid=False)


@pytest.mark.parametrize("change", [as_label_map, compressed])
def test_label_maps_and_compressed_frames_are_read(ours: Ours, change: Any) -> None:
    path, volume, structures = ours(shape=(24, 60, 66))

    segments = read_segments(edited(path, change), volume)

    for segment, structure in zip(segments, structures, strict=True):
        np.testing.assert_array_equal(segment.voxels, structure.voxels.whole())


def test_half_of_a_fractional_segment_and_more_is_inside(ours: Ours) -> None:
    def fractional(ds: Any) -> None:
        frames = ds.pixel_array.reshape(ds.NumberOfFrames, -1).astype(np.uint8)
        stored = np.where(frames, 127, 126).astype(np.uint8)
        ds.SegmentationType, ds.MaximumFractionalValue = "FRACTIONAL", 254
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit = 7
        ds.PixelData = stored.tobytes() + b"\0" * (stored.size % 2)
        ds["PixelData"].VR = "OB"

    path, volume, structures = ours(shape=(24, 61, 67))

    (liver, *_) = read_segments(edited(path, fractional), volume)

    np.testing.assert_array_equal(liver.voxels, structures[0].voxels.whole())


def set_frame(ds: Any, number: int, **offsets: float) -> None:
    place = ds.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0]
    x, y, z = (float(value) for value in place.ImagePositionPatient)
    place.ImagePositionPatient = [
        x + offsets.get("x", 0),
        y + offsets.get("y", 0),
        z + offsets.get("z", 0),
    ]


def turned(ds: Any) -> None:
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [0.8, 0.6, 0, -0.6, 0.8, 0]


def doubled(ds: Any) -> None:
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [8, 8]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda ds: set_frame(ds, 1, z=1.0), "frame 2 of seg.dcm lies 1.00 mm off"),
        (lambda ds: set_frame(ds, 0, x=2.0), "does not fall on the pixels"),
        (lambda ds: set_frame(ds, 0, x=400.0), "reaches beyond its slice"),
        (turned, "frame 1 of seg.dcm reaches beyond"),
        (doubled, "reaches beyond its slice"),
        (lambda ds: setattr(ds, "FrameOfReferenceUID", generate_uid()), "another frame of ref"),
        (lambda ds: setattr(ds, "PixelData", ds.PixelData[:40]), "ends too early"),
        (lambda ds: setattr(ds, "NumberOfFrames", 3), "3 frames and"),
        (lambda ds: ds.SegmentSequence.pop(), "has no segment 3"),
        (lambda ds: delattr(ds, "SegmentationType"), "cannot be used"),
        (
            lambda ds: delattr(ds.PerFrameFunctionalGroupsSequence[0], "PlanePositionSequence"),
            "no PlanePositionSequence",
        ),
    ],
)
def test_what_lies_elsewhere_is_refused(ours: Ours, change: Any, sentence: str) -> None:
    path, volume, _ = ours(shape=(24, 96, 96))

    with pytest.raises(UnusableAnnotation, match=sentence):
        read_segments(edited(path, change), volume)


def test_a_file_that_is_none_is_refused(tmp_path: Path, ours: Ours) -> None:
    _, volume, _ = ours()
    (tmp_path / "x.dcm").write_bytes(b"nothing")

    with pytest.raises(UnusableAnnotation, match="no segmentation"):
        read_segments(tmp_path / "x.dcm", volume)
    with pytest.raises(UnusableAnnotation, match="no segmentation"):
        read_segmentation_header(tmp_path / "x.dcm")
