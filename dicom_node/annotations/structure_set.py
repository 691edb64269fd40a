"""An RTSTRUCT as masks: closed planar contours in the patient, filled slice by slice.

A contour inside another is a hole (even-odd). A structure with a contour that is off the slices, or
is no closed plane, has a fault: its mask would not be what was drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.annotations.annotated_structure import AnnotatedStructure, AnnotationHeader
from dicom_node.annotations.slices_of import SlicesOf
from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.datasets.polygon_fill import inside_polygons
from dicom_node.datasets.source_planes import decimal_strings, numbers
from dicom_node.errors import UnreadableDataset, UnusableAnnotation
from dicom_node.reading_errors import parsing, quietly
from dicom_node.values import SourceVolume

_CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})  # PS3.3 C.8.8.6.1
_CANNOT = "the structure set {} cannot be used"


def read_structure_set_header(path: Path) -> AnnotationHeader:
    """What the RTSTRUCT at `path` says of itself; UnusableAnnotation for a file that cannot be
    read.
    """
    with quietly(), parsing(UnusableAnnotation, _CANNOT.format(path.name)):
        structure_set = read_dataset(path)
        frames = structure_set.get("ReferencedFrameOfReferenceSequence") or ()
        series = [
            str(item.get("SeriesInstanceUID") or "")
            for frame in frames
            for study in frame.get("RTReferencedStudySequence") or ()
            for item in study.get("RTReferencedSeriesSequence") or ()
        ]
        uids = [str(frame.get("FrameOfReferenceUID") or "") for frame in frames]
        return AnnotationHeader(
            str(structure_set.get("SOPInstanceUID") or ""),
            series[0] if len(series) == 1 else "",
            uids[0] if len(uids) == 1 else "",
        )


def read_structures(path: Path, volume: SourceVolume) -> tuple[AnnotatedStructure, ...]:
    """The structures of the RTSTRUCT at `path` on the grid of `volume`, in the order of its list.

    A structure without a contour has a fault, for it may have been planned and never drawn.
    UnusableAnnotation for an object that is damaged.
    """
    with quietly(), parsing(UnusableAnnotation, _CANNOT.format(path.name)):
        structure_set = read_dataset(path)
        if not structure_set.get("StructureSetROISequence"):
            raise UnreadableDataset("it is no structure set")
        contours = {
            int(item.ReferencedROINumber): item.get("ContourSequence") or ()
            for item in structure_set.get("ROIContourSequence") or ()
        }
        slices = SlicesOf(volume)
        return tuple(
            _structure(roi, contours.get(int(roi.ROINumber), ()), volume, slices)
            for roi in structure_set.StructureSetROISequence
        )


def _structure(
    roi: Dataset, contours: Sequence[Dataset], volume: SourceVolume, slices: SlicesOf
) -> AnnotatedStructure:
    label = str(roi.get("ROIName") or "").strip()
    automatic = roi.get("ROIGenerationAlgorithm") == "AUTOMATIC"
    voxels = np.zeros(slices.shape, dtype=bool)
    try:
        stated = str(roi.get("ReferencedFrameOfReferenceUID") or "")
        if stated != volume.frame_of_reference_uid:
            raise UnusableAnnotation("it lies in another frame of reference")
        by_slice = _polygons(contours, slices)
        for z, polygons in by_slice.items():
            voxels[z] = inside_polygons(polygons, (slices.shape[1], slices.shape[2]))
    except UnusableAnnotation as fault:
        empty = np.broadcast_to(np.False_, slices.shape)
        return AnnotatedStructure(label, empty, automatic=automatic, fault=str(fault))
    return AnnotatedStructure(label, voxels, automatic=automatic, fault=_gaps(sorted(by_slice)))


def _polygons(
    contours: Sequence[Dataset], slices: SlicesOf
) -> dict[int, list[NDArray[np.float64]]]:
    """The contours as polygons (n, 2) of (row, column), by slice."""
    by_slice: defaultdict[int, list[NDArray[np.float64]]] = defaultdict(list)
    for number, contour in enumerate(contours, start=1):
        kind = str(contour.get("ContourGeometricType") or "")
        if kind not in _CLOSED:
            raise UnusableAnnotation(f"its contour {number} is no closed plane ({kind})")
        data = decimal_strings(contour, "ContourData")
        points = numbers(data, len(data))
        if points is None or not points.size or points.size % 3:
            raise UnusableAnnotation(f"the points of its contour {number} are no numbers in threes")
        points = points.reshape(-1, 3)
        try:
            z = slices.slice_at(points)
        except UnusableAnnotation as fault:
            raise UnusableAnnotation(f"its contour {number} {fault}") from fault
        by_slice[z].append(slices.rows_and_columns(points, z))
    return by_slice


def _gaps(slices: Sequence[int]) -> str:
    """Why contours on these slices (zero-based, rising) are no whole mask; empty where they are.

    Two parts of a structure leave a gap between them; contours that are missing on most slices were
    drawn on thicker ones.
    """
    if not slices:
        return "it has no contour"
    depth = slices[-1] - slices[0] + 1
    if 2 * len(slices) <= depth and depth > 2:
        return f"only {len(slices)} of the {depth} slices it goes through have a contour"
    return ""
