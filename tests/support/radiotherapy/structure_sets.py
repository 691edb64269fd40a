"""RTSTRUCT files: contours in the patient, drawn on a volume's slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from dicom_node.values import SourceVolume

Polygon = tuple[float, Sequence[tuple[float, float]]]
"""Slice (fractions allowed), and points as (row, column) of it."""


def to_patient(volume: SourceVolume, polygon: Polygon) -> NDArray[np.float64]:
    """A polygon's points (n, 3) in LPS mm."""
    z, points = polygon
    index = np.array([(z, row, column, 1.0) for row, column in points])
    return (index @ volume.affine_zyx_to_lps.T)[:, :3]


def write_structure_set(
    path: Path,
    volume: SourceVolume,
    structures: Mapping[str, Sequence[Polygon]],
    *,
    kind: str = "CLOSED_PLANAR",
    frame_of_reference_uid: str | None = None,
) -> Path:
    """Structures by name as an RTSTRUCT of the volume's series."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = RTStructureSetStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Modality, ds.PatientID, ds.PatientName = "RTSTRUCT", "PHANTOM-1", "Phantom^Torso"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = volume.study_instance_uid, generate_uid()
    ds.StructureSetLabel = "READER"
    frame_uid = frame_of_reference_uid or volume.frame_of_reference_uid
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = volume.series_instance_uid
    study.ReferencedSOPInstanceUID = volume.study_instance_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = frame_uid, [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, polygons) in enumerate(structures.items(), start=1):
        roi, drawing = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "MANUAL"
        roi.ReferencedFrameOfReferenceUID = frame_uid
        ds.StructureSetROISequence.append(roi)
        drawing.ReferencedROINumber, drawing.ContourSequence = number, []
        for polygon in polygons:
            contour, points = Dataset(), to_patient(volume, polygon)
            contour.ContourGeometricType = kind
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
            drawing.ContourSequence.append(contour)
        ds.ROIContourSequence.append(drawing)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path
