"""A measurement report (TID 1500) of what was found and what was not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as SrCode

from dicom_node.results.check_report import check_report
from dicom_node.results.measurements import area_mm2, area_px, diameters, intensity, volume_ml
from dicom_node.results.report_codes import (
    AREA,
    LONG_AXIS,
    MEAN,
    MILLILITER,
    MILLIMETER,
    NOT_VISUALIZED,
    PIXELS,
    PRESENCE,
    QUANTITY_OF_UNIT,
    SHORT_AXIS,
    SQUARE_MILLIMETER,
    STANDARD_DEVIATION,
    UNDETERMINED,
    VOLUME,
)
from dicom_node.results.result_header import ResultHeader, sr_code, titled
from dicom_node.results.structured_reports.document import (
    Group,
    algorithm_of,
    assembled,
    commented,
    rounded,
    sites_of,
    tracking_of,
)
from dicom_node.values import (
    ResultContent,
    ResultKind,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
    WrittenResult,
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
        images = header.volume.frames if header.volume.single_image else ()
        return assembled(header, groups, images, segmentation)

    def check(self, path: Path, content: ResultContent, earlier: Sequence[WrittenResult]) -> None:
        """See ResultWriter."""
        segmentation = _seg_among(earlier)
        check_report(path, content.volume, content.segments, content.undrawn, segmentation)


def _seg_among(results: Sequence[WrittenResult]) -> WrittenResult | None:
    """The SEG that a report refers to; None where nothing was segmented."""
    return next((result for result in results if result.kind is ResultKind.SEG), None)


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
        "tracking_identifier": tracking_of(header, segment.tracking_id),
        "finding_category": sr_code(segment.category),
        "finding_type": sr_code(segment.type),
        "finding_sites": sites_of(segment),
        "algorithm_id": algorithm_of(header.algorithm),
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
        return commented(
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
    return commented(planar, segment.doubt)


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
        sr.Measurement(name=name, value=rounded(value), unit=unit, derivation=derivation)
        for name, value, unit, derivation in rows
    ]


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
        tracking_identifier=tracking_of(header, finding.tracking_id),
        finding_type=sr_code(finding.type),
        finding_sites=sites_of(finding),
        algorithm_id=algorithm_of(header.algorithm),
        qualitative_evaluations=[sr.QualitativeEvaluation(name=PRESENCE, value=evaluation)],
    )
    return commented(group, finding.reason)
