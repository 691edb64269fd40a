"""An independent check of a SEG before it is sent.

It is read by dicom_node.results.segmentation_frames, without highdicom, which arranged it; of the
writer's code only the parsing of decimal strings is shared. The result is compared with the
volume's affine and source files: every voxel, slice, corner and centroid.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.datasets.source_planes import decimal_strings, numbers
from dicom_node.errors import ResultMismatch
from dicom_node.results.segmentation_frames import (
    AGREE_MM,
    CORNER_SHARE,
    FramesOnSingleImage,
    FramesOnSlices,
    SegmentFrame,
)
from dicom_node.values import Code, Region, ResultSegment, SourceVolume

_SEGMENT_NUMBER = Tag("ReferencedSegmentNumber")
# Functional groups that place a frame in the patient (PS3.3 C.7.6.16.2.3 and .4)
_PLACES = frozenset({"PlanePositionSequence", "PlaneOrientationSequence"})
# A table's steps may be uneven and drift sideways, but a slice never lies nearer to its neighbour's
# place
_STEP_SHARE, _DRIFT_MM = 0.5, 1.0


def check_segmentation(path: Path, volume: SourceVolume, segments: Sequence[ResultSegment]) -> None:
    """Raise ResultMismatch unless the SEG at `path` is exactly `segments` on `volume`.

    Compared: study, series and instance references, coding of every segment, position and
    orientation of every frame, every voxel, no frame missing or twice, and each centroid in patient
    space (LPS mm). OSError when the file is gone.
    """
    with path.open("rb") as file:
        seg = dcmread(file, stop_before_pixels=True)
        _check_object(seg, volume, segments)
        _check_segments(seg, segments)
        _check_references(seg, volume)
        if volume.single_image:
            _check_on_single_image(seg, file, volume, segments)
            return
        origins = source_origins(volume)
        placed: dict[tuple[int, int], Sequence[int]] = {}
        voxels, total_mm = np.zeros(len(segments)), np.zeros((len(segments), 3))
        for frame in FramesOnSlices(seg, file, volume, origins):
            _check_frame(frame, volume, segments, placed)
            _, rows, columns = segments[frame.segment].voxels.place  # where all its voxels are
            moments = _moments(frame.pixels[rows, columns], (rows.start, columns.start))
            voxels[frame.segment] += moments[0]
            total_mm[frame.segment] += frame.to_lps_mm @ moments
    _check_nothing_missing(segments, placed)
    _check_indices(seg, placed)
    for number, segment in enumerate(segments):
        _check_centroid(segment, volume, origins, total_mm[number] / voxels[number])


def segment_masks(path: Path, volume: SourceVolume) -> dict[str, NDArray[np.bool_]]:
    """Masks of the SEG at `path` by SegmentLabel: (z, y, x) bool, slices placed by position.

    ResultMismatch when a frame lies nowhere on that grid; OSError when the file is gone.
    """
    with path.open("rb") as file:
        seg = dcmread(file, stop_before_pixels=True)
        labels = [str(item.SegmentLabel) for item in seg.SegmentSequence]
        masks = {label: np.zeros(volume.intensities.shape, dtype=np.bool_) for label in labels}
        for frame in (
            FramesOnSingleImage(seg, file)
            if volume.single_image
            else FramesOnSlices(seg, file, volume, source_origins(volume))
        ):
            masks[labels[frame.segment]][frame.z] |= frame.pixels
    return masks


def _require(same: bool, what: str) -> None:
    if not same:
        raise ResultMismatch(f"the segmentation read back from its file has {what}")


def _check_object(seg: Dataset, volume: SourceVolume, segments: Sequence[ResultSegment]) -> None:
    """Check SOP class, encoding, study, frame of reference, matrix and counts."""
    _require(seg.SOPClassUID == SegmentationStorage, "another SOP class")
    _require(seg.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian, "another transfer syntax")
    _require(
        seg.SegmentationType == "BINARY" and seg.BitsAllocated == 1, "pixels of more than one bit"
    )
    _require(seg.StudyInstanceUID == volume.study_instance_uid, "another study")
    _require(
        seg.get("FrameOfReferenceUID", "") == volume.frame_of_reference_uid,
        "another frame of reference",
    )
    _require((seg.Rows, seg.Columns) == volume.intensities.shape[1:], "another matrix")
    count = len(seg.PerFrameFunctionalGroupsSequence)
    _require(
        int(seg.NumberOfFrames) == count,
        f"{seg.NumberOfFrames} frames but {count} descriptions of frames",
    )
    _require(len(seg.SegmentSequence) == len(segments), "another number of segments")


def _check_segments(seg: Dataset, segments: Sequence[ResultSegment]) -> None:
    """Check number, codes and tracking identifier of each segment."""
    for number, (item, segment) in enumerate(
        zip(seg.SegmentSequence, segments, strict=True), start=1
    ):
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence")
        _require(int(item.SegmentNumber) == number, f"segment {number} out of order")
        _require(_is(kind, segment.type), f"another code for segment {number}, {segment.label}")
        _require(
            _is(item.SegmentedPropertyCategoryCodeSequence[0], segment.category),
            f"another category for segment {number}, {segment.label}",
        )
        _require(
            _hold(modifiers, segment.laterality),
            f"another laterality for segment {number}, {segment.label}",
        )
        _require(
            _lies_in(item.get("AnatomicRegionSequence"), segment.region),
            f"another region for segment {number}, {segment.label}",
        )
        _require(
            item.TrackingID == segment.tracking_id[:64],
            f"another tracking identifier for segment {number}",
        )
        _require(
            bool(item.get("SegmentDescription")) == bool(segment.doubts),
            f"another description of what is in doubt of segment {number}, {segment.label}",
        )


def _lies_in(items: Sequence[Dataset] | None, region: Region | None) -> bool:
    """Whether an Anatomic Region Sequence holds this region and its side, or nothing for none."""
    if region is None or not items:
        return region is None and not items
    modifiers = items[0].get("AnatomicRegionModifierSequence")
    return _hold(items, region.type) and _hold(modifiers, region.laterality)


def _hold(items: Sequence[Dataset] | None, code: Code | None) -> bool:
    """Whether a sequence of coded items holds `code` alone, or nothing for none."""
    expected = [] if code is None else [code]
    return len(items or []) == len(expected) and all(map(_is, items or [], expected))


def _is(item: Dataset, code: Code) -> bool:
    """Whether a coded item holds `code`."""
    return (item.CodeValue, item.CodingSchemeDesignator) == (code.value, code.scheme)


def _check_references(seg: Dataset, volume: SourceVolume) -> None:
    """Check the referenced series and instances, by which viewers find the images."""
    series = {
        item.SeriesInstanceUID: item.ReferencedInstanceSequence
        for item in seg.ReferencedSeriesSequence
    }
    _require(list(series) == [volume.series_instance_uid], "references to another series")
    named = {item.ReferencedSOPInstanceUID for item in series[volume.series_instance_uid]}
    _require(
        named == {frame.sop_instance_uid for frame in volume.frames},
        "references to other instances",
    )


def _check_frame(
    frame: SegmentFrame,
    volume: SourceVolume,
    segments: Sequence[ResultSegment],
    placed: dict[tuple[int, int], Sequence[int]],
) -> None:
    """Check a frame: known segment, no duplicate, right image, equal to the mask."""
    _require(
        0 <= frame.segment < len(segments),
        f"a frame of segment {frame.segment + 1}, which does not exist",
    )
    _require(
        (frame.segment, frame.z) not in placed,
        f"two frames of one segment at slice {frame.z}",
    )
    placed[frame.segment, frame.z] = frame.indices
    source = volume.frames[frame.z]
    _require(
        frame.source.ReferencedSOPInstanceUID == source.sop_instance_uid
        and frame.source.ReferencedSOPClassUID == source.sop_class_uid
        and frame.source.get("ReferencedFrameNumber") == source.frame_number,
        f"frame {frame.number} derived from another image than that of its slice",
    )
    voxels = segments[frame.segment].voxels
    _, rows, columns = voxels.place
    there = frame.pixels[rows, columns]
    drawn = voxels.box[frame.z - voxels.origin[0]] if frame.z in voxels.slices else False
    outside = np.count_nonzero(frame.pixels) - np.count_nonzero(there)
    wrong = int(outside + np.count_nonzero(there != drawn))
    label = segments[frame.segment].label
    _require(wrong == 0, f"{wrong} wrong voxels of {label} at slice {frame.z}")


def _check_on_single_image(
    seg: Dataset, file: BinaryIO, volume: SourceVolume, segments: Sequence[ResultSegment]
) -> None:
    """Check one frame a segment: right image, equal to the mask, and no position."""
    placed: dict[tuple[int, int], Sequence[int]] = {}
    for frame in FramesOnSingleImage(seg, file):
        _check_frame(frame, volume, segments, placed)
    for groups in (*seg.SharedFunctionalGroupsSequence, *seg.PerFrameFunctionalGroupsSequence):
        stated = _PLACES & {element.keyword for element in groups}
        _require(
            not stated, f"a frame with {', '.join(sorted(stated))} although its source has no place"
        )
    _check_nothing_missing(segments, placed)
    _check_indices(seg, placed)


def _check_nothing_missing(
    segments: Sequence[ResultSegment], placed: Collection[tuple[int, int]]
) -> None:
    """Check that each non-empty slice of a segment has a frame."""
    for number, segment in enumerate(segments):
        for z in np.flatnonzero(segment.voxels.areas):
            _require((number, int(z)) in placed, f"no frame of {segment.label} at slice {z}")


def _check_indices(seg: Dataset, placed: Mapping[tuple[int, int], Sequence[int]]) -> None:
    """Check that frames are indexed by their segment's number, and alike just where they lie on the
    same slice (PS3.3 C.7.6.17); viewers sort by that.
    """
    for column, dimension in enumerate(seg.DimensionIndexSequence):
        if dimension.DimensionIndexPointer == _SEGMENT_NUMBER:
            same = all(values[column] == segment + 1 for (segment, _), values in placed.items())
            _require(same, "a frame indexed as of another segment")
            continue
        pairs = {(z, values[column]) for (_, z), values in placed.items()}
        same = len(pairs) == len({z for z, _ in pairs}) == len({value for _, value in pairs})
        _require(same, "frames of one slice indexed apart, or of several as one")


def _check_centroid(
    segment: ResultSegment,
    volume: SourceVolume,
    origins: NDArray[np.float64],
    measured: NDArray[np.float64],
) -> None:
    """Check that the file's geometry and the volume's give the same centre of mass, LPS mm.

    The affine has even steps; where the scanner's are uneven, each slice counts at the place that
    its source states. Over the voxels (z, row, column) inside, with origin o_z of slice z and the
    in-plane steps A of the affine, the centre is (sum n_z o_z + A sum (row, column)) / n.
    """
    voxels = segment.voxels
    moments = np.array([_moments(plane) for plane in voxels.box])
    at_slices = moments[:, 0] @ origins[voxels.slices]
    in_plane = moments[:, 1:].sum(axis=0) + voxels.count * np.array(voxels.origin[1:])
    expected = (at_slices + volume.affine_zyx_to_lps[:3, 1:3] @ in_plane) / voxels.count
    apart = float(np.linalg.norm(measured - expected))
    pixel_mm = float(np.linalg.norm(volume.affine_zyx_to_lps[:3, 1:3], axis=0).min())
    allowed = AGREE_MM + CORNER_SHARE * pixel_mm
    _require(
        apart <= allowed, f"the centre of {segment.label} {apart:.3f} mm from where it was drawn"
    )


def _moments(plane: NDArray[np.bool_], origin: tuple[int, int] = (0, 0)) -> NDArray[np.float64]:
    """Number of voxels, sum of their rows, sum of their columns (zero-based), as (3,).

    The plane's first pixel has the row and column `origin`.
    """
    rows = np.flatnonzero(plane.any(axis=1))
    inside = plane[rows]  # a third of the time of counting the whole plane
    in_rows, in_columns = np.count_nonzero(inside, axis=1), np.count_nonzero(inside, axis=0)
    count = in_rows.sum()
    return np.array(
        [
            count,
            in_rows @ rows + count * origin[0],
            in_columns @ np.arange(in_columns.size) + count * origin[1],
        ],
        dtype=np.float64,
    )


def source_origins(volume: SourceVolume) -> NDArray[np.float64]:
    """The first pixel of each slice as the source files state it, else by the affine: (z, 3) mm."""
    affine = volume.affine_zyx_to_lps
    even = affine[:3, 3] + np.arange(len(volume.frames))[:, None] * affine[:3, 0]
    allowed_mm = max(_STEP_SHARE * float(np.linalg.norm(affine[:3, 0])), _DRIFT_MM)
    origins = even.copy()
    for path, members in groupby(enumerate(volume.frames), key=lambda member: member[1].path):
        ds = read_dataset(path)
        for z, frame in members:
            stated = _stated_origin(ds, frame.frame_number)
            if stated is None:
                continue
            apart_mm = np.linalg.norm(even - stated, axis=1)
            _require(
                int(apart_mm.argmin()) == z and apart_mm[z] <= allowed_mm,
                f"slice {z} {apart_mm[z]:.3f} mm from where its source states it",
            )
            origins[z] = stated
    return origins


def _stated_origin(ds: Dataset, frame_number: int | None) -> NDArray[np.float64] | None:
    """Image Position (Patient) of an image or of a frame of it, or None."""
    if frame_number is None:
        return numbers(decimal_strings(ds, "ImagePositionPatient"), 3)
    groups = [
        *ds.PerFrameFunctionalGroupsSequence[frame_number - 1 : frame_number],
        *ds.SharedFunctionalGroupsSequence,
    ]
    items = [
        group.PlanePositionSequence[0] for group in groups if group.get("PlanePositionSequence")
    ]
    return numbers(decimal_strings(items[0], "ImagePositionPatient"), 3) if items else None
