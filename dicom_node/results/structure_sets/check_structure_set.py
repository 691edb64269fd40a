"""An independent check of an RTSTRUCT before it is sent: its contours, filled, are the masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from dicom_node.datasets.polygon_fill import inside_polygons
from dicom_node.datasets.source_planes import decimal_strings
from dicom_node.errors import ResultMismatch
from dicom_node.results.check_segmentation import source_origins
from dicom_node.values import ResultSegment, SourceVolume

_OFF_PLANE_MM = 0.01


def check_structure_set(
    path: Path, volume: SourceVolume, segments: Sequence[ResultSegment]
) -> None:
    """Raise ResultMismatch unless the RTSTRUCT at `path` encloses just the voxels of `segments`.

    Compared: study, series and frame of reference; of each structure its name and code, and of its
    contours the image that each refers to, that it lies in the plane of that image as the source
    states it, and that all of a slice, filled by the even-odd rule, cover the mask's pixels and no
    others.
    """
    structure_set = dcmread(path)
    _require(structure_set.SOPClassUID == RTStructureSetStorage, "another SOP class")
    _require(structure_set.StudyInstanceUID == volume.study_instance_uid, "another study")
    frame = structure_set.ReferencedFrameOfReferenceSequence[0]
    uid = volume.frame_of_reference_uid
    _require(frame.FrameOfReferenceUID == uid, "another frame of reference")
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    _require(series.SeriesInstanceUID == volume.series_instance_uid, "another series")
    parts = zip(
        structure_set.StructureSetROISequence,
        structure_set.ROIContourSequence,
        structure_set.RTROIObservationsSequence,
        segments,
        strict=True,
    )
    origins = source_origins(volume)
    for number, (roi, drawing, observation, segment) in enumerate(parts, start=1):
        numbers = (roi.ROINumber, drawing.ReferencedROINumber, observation.ReferencedROINumber)
        _require(set(numbers) == {number}, f"structure {number} under other numbers")
        code = observation.RTROIIdentificationCodeSequence[0]
        stated = (str(code.CodeValue), str(code.CodingSchemeDesignator))
        meant = (segment.type.value, segment.type.scheme)
        _require(stated == meant, f"another code for {segment.label}")
        _check_contours(drawing.ContourSequence, segment, volume, origins)


def _check_contours(
    contours: Iterable[Dataset],
    segment: ResultSegment,
    volume: SourceVolume,
    origins: NDArray[np.float64],
) -> None:
    _, rows, columns = volume.intensities.shape
    place = {
        (frame.sop_instance_uid, frame.frame_number): z for z, frame in enumerate(volume.frames)
    }
    polygons: dict[int, list[NDArray[np.float64]]] = {}
    for contour in contours:
        image = contour.ContourImageSequence[0]
        key = (str(image.ReferencedSOPInstanceUID), image.get("ReferencedFrameNumber"))
        _require(key in place, f"a contour of {segment.label} on an image that is not its own")
        z = place[key]
        points_mm = np.array(decimal_strings(contour, "ContourData"), np.float64).reshape(-1, 3)
        polygons.setdefault(z, []).append(_on_slice(points_mm, volume, origins[z], segment.label))
    for z in {*polygons, *segment.voxels.slices}:
        filled = inside_polygons(polygons.get(z, ()), (rows, columns))
        _require(
            np.array_equal(filled, segment.voxels.plane(z)),
            f"contours that enclose other pixels than {segment.label} has on slice {z}",
        )


def _on_slice(
    points_mm: NDArray[np.float64],
    volume: SourceVolume,
    origin_mm: NDArray[np.float64],
    label: str,
) -> NDArray[np.float64]:
    """Points (n, 3) LPS mm as (row, column) of the slice whose first pixel is at `origin_mm`."""
    in_plane = volume.affine_zyx_to_lps[:3, 1:3]
    solved, *_ = np.linalg.lstsq(in_plane, (points_mm - origin_mm).T, rcond=None)
    apart_mm = np.linalg.norm(points_mm - origin_mm - (in_plane @ solved).T, axis=1)
    _require(bool(apart_mm.max() <= _OFF_PLANE_MM), f"a contour of {label} off its slice")
    return np.asarray(solved.T)


def _require(same: bool, what: str) -> None:
    if not same:
        raise ResultMismatch(f"the structure set read back from its file has {what}")
