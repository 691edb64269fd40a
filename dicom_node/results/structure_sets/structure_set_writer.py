"""An RTSTRUCT of what was drawn: contours in the patient, for planning and viewers without SEG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from dicom_node.datasets.source_planes import Planes, read_planes
from dicom_node.identity import MANUFACTURER
from dicom_node.results.result_header import (
    MODEL_NAME,
    ResultHeader,
    algorithm_identification,
    reference,
    shortened,
    software_version,
    sr_code,
    titled,
)
from dicom_node.results.structure_sets.check_structure_set import check_structure_set
from dicom_node.results.structure_sets.contours import outlines
from dicom_node.values import ResultContent, ResultKind, ResultSegment, WrittenResult

_DETACHED_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"  # retired, and still what readers expect
_CATEGORY_ORGAN = "123037004"  # SCT, Anatomical Structure


class StructureSetWriter:
    """A ResultWriter of RT Structure Set (PS3.3 A.19): a region of interest for every segment.

    Contours are CLOSED_PLANAR on the planes of the source's slices, holes by keyhole (PS3.3
    C.8.8.6.3); filled by pixel centres they give the masks back. Implicit VR Little Endian, in
    which a contour may be longer than the 64 kB that a DS has in explicit VR (PS3.5 7.1.2).
    Nothing on a single image, which has no place in the patient.
    """

    kind = ResultKind.RTSTRUCT
    file_name = "rtstruct.dcm"

    def applies(self, content: ResultContent) -> bool:
        """See ResultWriter."""
        placed = not content.volume.single_image and content.volume.frame_of_reference_uid
        return bool(content.segments) and bool(placed)

    def write(
        self,
        content: ResultContent,
        earlier: Sequence[WrittenResult],  # noqa: ARG002 - the signature of ResultWriter
    ) -> Dataset:
        """See ResultWriter; ValueError for no segments, and where nothing lies in a patient."""
        if not self.applies(content):
            raise ValueError("a structure set needs a segment, and a frame of reference to be in")
        title = titled(segment.label for segment in content.segments)
        header = ResultHeader.of(self.kind, title, content)
        structure_set = _described(header, header.made_at.replace(microsecond=0))
        planes = read_planes(content.volume)
        structure_set.StructureSetROISequence = []
        structure_set.ROIContourSequence = []
        structure_set.RTROIObservationsSequence = []
        for number, segment in enumerate(content.segments, start=1):
            structure_set.StructureSetROISequence.append(_region(number, segment, header))
            structure_set.ROIContourSequence.append(_contours(number, segment, header, planes))
            structure_set.RTROIObservationsSequence.append(_observation(number, segment))
        header.finish(structure_set)
        structure_set.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        return structure_set

    def check(
        self,
        path: Path,
        content: ResultContent,
        earlier: Sequence[WrittenResult],  # noqa: ARG002 - the signature of ResultWriter
    ) -> None:
        """See ResultWriter."""
        check_structure_set(path, content.volume, content.segments)


def _described(header: ResultHeader, made_at: datetime) -> Dataset:
    """All but the structures: series, equipment, structure set and what it refers to."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = RTStructureSetStorage, header.sop_instance_uid
    ds.Modality, ds.SeriesInstanceUID = "RTSTRUCT", header.series_instance_uid
    ds.StudyInstanceUID = header.volume.study_instance_uid
    ds.SeriesNumber, ds.InstanceNumber = header.series_number, 1
    ds.SeriesDescription, ds.OperatorsName = header.series_description, ""
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, MODEL_NAME
    ds.SoftwareVersions = software_version()
    ds.DeviceSerialNumber = f"segnode-{software_version()}"
    ds.ContentDate, ds.ContentTime = made_at.date(), made_at.time()
    ds.StructureSetDate, ds.StructureSetTime = ds.ContentDate, ds.ContentTime
    ds.StructureSetLabel = "AI"
    ds.StructureSetName = shortened(header.series_description, 64)
    ds.StructureSetDescription = "Drawn by a machine, not approved by a person"
    ds.ApprovalStatus = "UNAPPROVED"
    ds.PositionReferenceIndicator = header.source.get("PositionReferenceIndicator", "")
    ds.FrameOfReferenceUID = header.volume.frame_of_reference_uid
    ds.ReferencedFrameOfReferenceSequence = [_referenced_frame(header)]
    return ds


def _referenced_frame(header: ResultHeader) -> Dataset:
    """The frame of reference with study, series and images that were drawn on (PS3.3 C.8.8.5)."""
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = header.volume.series_instance_uid
    series.ContourImageSequence = header.source_references()
    study.ReferencedSOPClassUID = _DETACHED_STUDY_MANAGEMENT
    study.ReferencedSOPInstanceUID = header.volume.study_instance_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = header.volume.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _region(number: int, segment: ResultSegment, header: ResultHeader) -> Dataset:
    """An item of the list of regions of interest, in doubt or not."""
    roi = Dataset()
    roi.ROINumber, roi.ROIName = number, shortened(segment.label, 64)
    roi.ReferencedFrameOfReferenceUID = header.volume.frame_of_reference_uid
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    roi.ROIGenerationDescription = shortened(header.algorithm.name, 64)
    algorithm: AlgorithmIdentificationSequence = algorithm_identification(header.algorithm)
    roi.ROIDerivationAlgorithmIdentificationSequence = algorithm
    if segment.doubts:
        roi.ROIDescription = shortened(segment.doubt, 1024)
    return roi


def _contours(number: int, segment: ResultSegment, header: ResultHeader, planes: Planes) -> Dataset:
    """The contours of a segment with its colour, slice by slice."""
    drawing = Dataset()
    drawing.ReferencedROINumber = number
    drawing.ROIDisplayColor = list(CIELabColor(*segment.cielab).to_rgb())
    drawing.ContourSequence = []
    affine = header.volume.affine_zyx_to_lps
    for z in segment.voxels.slices:
        origin = np.array([float(part) for part in planes.positions[z]])
        frame = header.volume.frames[z]
        image = reference(frame.sop_class_uid, frame.sop_instance_uid)
        if frame.frame_number is not None:
            image.ReferencedFrameNumber = frame.frame_number
        first_z, *first_pixel = segment.voxels.origin
        for polygon in outlines(segment.voxels.box[z - first_z]):
            points_mm = origin + (polygon + first_pixel) @ affine[:3, 1:3].T
            drawing.ContourSequence.append(_contour(points_mm, image, drawing))
    return drawing


def _contour(points_mm: NDArray[np.float64], image: Dataset, drawing: Dataset) -> Dataset:
    contour = Dataset()
    contour.ContourNumber = len(drawing.ContourSequence) + 1
    contour.ContourImageSequence = [image]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points_mm)
    contour.ContourData = [f"{value:.4f}" for value in points_mm.ravel()]
    return contour


def _observation(number: int, segment: ResultSegment) -> Dataset:
    """What a region is, coded (PS3.3 C.8.8.8)."""
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    organ = segment.category.value == _CATEGORY_ORGAN
    observation.RTROIInterpretedType = "ORGAN" if organ else ""
    observation.ROIInterpreter = ""
    code = CodedConcept.from_code(sr_code(segment.type))
    if segment.laterality is not None:
        side = CodedConcept.from_code(sr_code(segment.laterality))
        code.SegmentedPropertyTypeModifierCodeSequence = [side]
    observation.RTROIIdentificationCodeSequence = [code]
    return observation
