"""A measurement report (TID 1500) of what was found and what was not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as SrCode

from dicom_node.identity import IMPLEMENTATION_CLASS_UID, MANUFACTURER
from dicom_node.results.check_report import check_report
from dicom_node.results.measurements import area_mm2, area_px, diameters, intensity, volume_ml
from dicom_node.results.report_codes import (
    ANY_PROCEDURE,
    AREA,
    COMMENT,
    LONG_AXIS,
    MEAN,
    MILLILITER,
    MILLIMETER,
    NOT_VISUALIZED,
    PIXELS,
    PRESENCE,
    PROCEDURE_OF_MODALITY,
    QUANTITY_OF_UNIT,
    SHORT_AXIS,
    SQUARE_MILLIMETER,
    STANDARD_DEVIATION,
    UNDETERMINED,
    VOLUME,
)
from dicom_node.results.result_header import (
    MODEL_NAME,
    ResultHeader,
    reference,
    shortened,
    software_version,
    sr_code,
    titled,
)
from dicom_node.results.segmentation import tracking_uid
from dicom_node.values import (
    Algorithm,
    ResultContent,
    ResultKind,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
    WrittenResult,
    site_of,
)


class ReportWriter:
    """A ResultWriter of Enhanced SR with TID 1500: what was found, measured, and what was not.

    A measurement group (TID 1411) for every segment: the SEG's tracking UID, finding, site and
    laterality, volume (mL), long and short axis (mm), mean and standard deviation of CT and PET
    where their unit is known, the segment referred to, the source series and, as a comment, what is
    in doubt. How sure the agent is has no place in it: its figure is not calibrated. A group
    (TID 1501) for every structure that was not drawn, "Not visualized", or "Undetermined" where it
    could not be called absent either. On a single image the groups are planar
    (TID 1410), with area instead of volume: in mm2 where the size of a pixel is known, else in
    pixels and without axes.
    """

    kind = ResultKind.SR
    file_name = "sr.dcm"

    def applies(self, content: ResultContent) -> bool:
        """See ResultWriter."""
        return bool(content.segments or content.undrawn)

    def write(self, content: ResultContent, earlier: Sequence[WrittenResult]) -> Dataset:
        """See ResultWriter; ValueError for nothing to report or segments without their SEG."""
        segments, undrawn, segmentation = content.segments, content.undrawn, _seg_among(earlier)
        if not self.applies(content):
            raise ValueError("a report needs at least one structure that was found or looked for")
        if bool(segments) != (segmentation is not None):
            raise ValueError(
                "a report refers to its segments in a segmentation: give both or neither"
            )
        labels = [*(segment.label for segment in segments), *(finding.label for finding in undrawn)]
        header = ResultHeader.of(self.kind, titled(labels), content)
        groups = _groups(header, segments, undrawn, segmentation)
        return _assembled(header, groups, segmentation)

    def check(self, path: Path, content: ResultContent, earlier: Sequence[WrittenResult]) -> None:
        """See ResultWriter."""
        segmentation = _seg_among(earlier)
        check_report(path, content.volume, content.segments, content.undrawn, segmentation)


def _seg_among(results: Sequence[WrittenResult]) -> WrittenResult | None:
    """The SEG that a report refers to; None where nothing was segmented."""
    return next((result for result in results if result.kind is ResultKind.SEG), None)


Group: TypeAlias = (
    sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | sr.MeasurementsAndQualitativeEvaluations
)


def _groups(
    header: ResultHeader,
    segments: Sequence[ResultSegment],
    undrawn: Sequence[UndrawnFinding],
    segmentation: WrittenResult | None,
) -> list[Group]:
    """Segmented structures in the SEG's order, then those that were not drawn."""
    segmented = [
        _segmented(header, number, segment, segmentation)
        for number, segment in enumerate(segments, start=1)
        if segmentation is not None
    ]
    return [*segmented, *(_undrawn(header, finding) for finding in undrawn)]


def _segmented(
    header: ResultHeader, number: int, segment: ResultSegment, segmentation: WrittenResult
) -> Group:
    """Volumetric ROI (TID 1411), on a single image Planar ROI (TID 1410), of segment `number`."""
    arguments: dict[str, Any] = {
        "tracking_identifier": _tracking(header, segment.tracking_id),
        "finding_category": sr_code(segment.category),
        "finding_type": sr_code(segment.type),
        "finding_sites": _sites(segment),
        "algorithm_id": _algorithm(header.algorithm),
        "measurements": _measurements(segment, header.volume),
    }
    seg: dict[str, Any] = {
        "sop_class_uid": segmentation.sop_class_uid,
        "sop_instance_uid": segmentation.sop_instance_uid,
        "segment_number": number,
    }
    if not header.volume.single_image:
        source = sr.SourceSeriesForSegmentation(header.volume.series_instance_uid)
        referenced_segment = sr.ReferencedSegment(**seg, source_series=source)
        return _commented(
            sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                referenced_segment=referenced_segment, **arguments
            ),
            segment.doubt,
        )
    (frame,) = header.volume.frames
    image = sr.SourceImageForSegmentation(frame.sop_class_uid, frame.sop_instance_uid)
    # a segment on a single image is one frame, and frames are in the segments' order
    segment_frame = sr.ReferencedSegmentationFrame(**seg, frame_number=number, source_image=image)
    # not beside a frame's number (PS3.3 table C.18.4-1)
    del segment_frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    planar = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=segment_frame, **arguments
    )
    return _commented(planar, segment.doubt)


Row: TypeAlias = tuple[SrCode, float, SrCode, SrCode | None]


def _measurements(segment: ResultSegment, volume: SourceVolume) -> list[sr.Measurement]:
    """The measurements of a segmented structure, each with its unit (UCUM)."""
    rows = _sizes(segment, volume)
    quantity = None if volume.unit is None else QUANTITY_OF_UNIT.get(volume.unit.value)
    if quantity is not None and volume.unit is not None:  # a number without a unit says nothing
        inside, unit = intensity(segment, volume), sr_code(volume.unit)
        rows.append((quantity, inside.mean, unit, MEAN))
        rows.append((quantity, inside.standard_deviation, unit, STANDARD_DEVIATION))
    return [
        sr.Measurement(name=name, value=_rounded(value), unit=unit, derivation=derivation)
        for name, value, unit, derivation in rows
    ]


def _rounded(value: float) -> float:
    """Rounded to a thousandth; below 1 to six digits, as PET has values of any size."""
    return round(value, 3) if abs(value) >= 1 else float(f"{value:.6g}")


def _sizes(segment: ResultSegment, volume: SourceVolume) -> list[Row]:
    """Volume and axes; of a single image the area, and axes where millimetres are known."""
    if not volume.sized:
        return [(AREA, float(area_px(segment)), PIXELS, None)]
    axes = diameters(segment, volume)
    extent: Row = (VOLUME, volume_ml(segment, volume), MILLILITER, None)
    if volume.single_image:
        extent = (AREA, area_mm2(segment, volume), SQUARE_MILLIMETER, None)
    return [
        extent,
        (LONG_AXIS, axes.long_mm, MILLIMETER, None),
        (SHORT_AXIS, axes.short_mm, MILLIMETER, None),
    ]


def _undrawn(
    header: ResultHeader, finding: UndrawnFinding
) -> sr.MeasurementsAndQualitativeEvaluations:
    """Measurement and Qualitative Evaluation Group (TID 1501) of a structure not drawn."""
    evaluation = UNDETERMINED if finding.uncertain else NOT_VISUALIZED
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(header, finding.tracking_id),
        finding_type=sr_code(finding.type),
        finding_sites=_sites(finding),
        algorithm_id=_algorithm(header.algorithm),
        qualitative_evaluations=[sr.QualitativeEvaluation(name=PRESENCE, value=evaluation)],
    )
    return _commented(group, finding.reason)


OfGroup = TypeVar("OfGroup", bound=Group)


def _commented(group: OfGroup, text: str) -> OfGroup:
    """The group with `text` as its comment, if there is any: the template is extensible (PS3.16
    TID 1501), and why something was not drawn or is in doubt is for people.
    """
    comment = shortened(text, 1024)
    if comment:
        group[0].ContentSequence.append(
            sr.TextContentItem(
                name=COMMENT, value=comment, relationship_type=sr.RelationshipTypeValues.CONTAINS
            )
        )
    return group


def _assembled(
    header: ResultHeader,
    groups: Sequence[Group],
    segmentation: WrittenResult | None,
) -> Dataset:
    """The document of highdicom, with the source's own evidence, patient and study."""
    stand_in = header.stand_in()
    if header.volume.single_image:  # its groups refer to the image itself
        (frame,) = header.volume.frames
        stand_in.SOPClassUID, stand_in.SOPInstanceUID = frame.sop_class_uid, frame.sop_instance_uid
    evidence = [stand_in, *([_evidence(header, segmentation)] if segmentation is not None else [])]
    document = sr.EnhancedSR(
        evidence=evidence,
        content=sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=_observer()),
            procedure_reported=PROCEDURE_OF_MODALITY.get(header.volume.modality, ANY_PROCEDURE),
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
        ),
        is_complete=True,
        is_final=False,
        is_verified=False,
        **header.arguments(),
    )
    _refer_to_source(document, header, segmentation)
    header.finish(document)
    return document


def _tracking(header: ResultHeader, tracking_id: str) -> sr.TrackingIdentifier:
    """The same identifier and UID as the segment has in the SEG."""
    return sr.TrackingIdentifier(
        uid=tracking_uid(header.identity, tracking_id), identifier=shortened(tracking_id, 64)
    )


def _sites(structure: ResultSegment | UndrawnFinding) -> list[sr.FindingSite]:
    """Where: the region of a finding, else the structure itself, left or right (CID 244)."""
    site = site_of(structure)
    if site is None:
        return []
    side = site.laterality
    return [
        sr.FindingSite(
            anatomic_location=sr_code(site.type), laterality=None if side is None else sr_code(side)
        )
    ]


def _algorithm(algorithm: Algorithm) -> sr.AlgorithmIdentification:
    """TID 4019, with the digests of weights, settings and prompts as parameters."""
    return sr.AlgorithmIdentification(
        name=shortened(algorithm.name, 64),
        version=shortened(algorithm.version, 64),
        parameters=[f"{of} SHA-256 {digest}" for of, digest in algorithm.parameters] or None,
    )


def _observer() -> sr.ObserverContext:
    """Segnode as the observing device (TID 1004).

    Its UID names the implementation, not the machine.
    """
    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=IMPLEMENTATION_CLASS_UID,
            name=MODEL_NAME,
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
            serial_number=software_version(),
        ),
    )


def _evidence(header: ResultHeader, segmentation: WrittenResult) -> Dataset:
    """As much of the SEG as evidence needs."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = segmentation.sop_class_uid, segmentation.sop_instance_uid
    ds.SeriesInstanceUID = segmentation.series_instance_uid
    ds.StudyInstanceUID = header.volume.study_instance_uid
    return ds


def _refer_to_source(
    document: Dataset, header: ResultHeader, segmentation: WrittenResult | None
) -> None:
    """Evidence (PS3.3 table C.17-3): every instance of the source series, and the SEG."""
    source = Dataset()
    source.SeriesInstanceUID = header.volume.series_instance_uid
    source.ReferencedSOPSequence = header.source_references()
    series = [source]
    if segmentation is not None:
        seg = Dataset()
        seg.SeriesInstanceUID = segmentation.series_instance_uid
        seg.ReferencedSOPSequence = [
            reference(segmentation.sop_class_uid, segmentation.sop_instance_uid)
        ]
        series.append(seg)
    study = Dataset()
    study.StudyInstanceUID = header.volume.study_instance_uid
    study.ReferencedSeriesSequence = series
    document.CurrentRequestedProcedureEvidenceSequence = [study]
