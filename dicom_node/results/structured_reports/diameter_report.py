"""A report whose long and short axes are lines on the slice where they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from highdicom import sr
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as SrCode

from dicom_node.results.measurements import diameters
from dicom_node.results.report_codes import LONG_AXIS, MILLIMETER, SHORT_AXIS
from dicom_node.results.result_header import ResultHeader, sr_code, titled
from dicom_node.results.structured_reports.check_diameters import check_diameters
from dicom_node.results.structured_reports.document import (
    Group,
    algorithm_of,
    assembled,
    commented,
    rounded,
    sites_of,
    tracking_of,
)
from dicom_node.values import ResultContent, ResultKind, ResultSegment, SourceFrame, WrittenResult


class DiameterReportWriter:
    """A ResultWriter of Enhanced SR with TID 1500: two lines for every segment, drawn by viewers.

    A group (TID 1501) a segment with the tracking UID that it has in the SEG, finding, site and
    what is in doubt. Long and short axis (mm) are each inferred from a polyline of two points (TID
    320) on the slice of largest area, as RECIST 1.1 reads them. The lines refer to the source image
    alone, so a viewer needs no SEG to draw them. Nothing where millimetres are unknown.
    """

    kind = ResultKind.DIAMETERS
    file_name = "diameters.dcm"

    def applies(self, content: ResultContent) -> bool:
        """See ResultWriter."""
        return bool(content.segments) and content.volume.sized

    def write(
        self,
        content: ResultContent,
        earlier: Sequence[WrittenResult],  # noqa: ARG002 - the signature of ResultWriter
    ) -> Dataset:
        """See ResultWriter; ValueError for no segments, and where no pixel has a size."""
        if not self.applies(content):
            raise ValueError("diameters need at least one segment, on pixels whose size is known")
        title = titled(segment.label for segment in content.segments)
        header = ResultHeader.of(self.kind, title, content)
        measured = [_measured(header, segment) for segment in content.segments]
        images = {frame.sop_instance_uid: frame for _, frame in measured}
        return assembled(header, [group for group, _ in measured], images.values())

    def check(
        self,
        path: Path,
        content: ResultContent,
        earlier: Sequence[WrittenResult],  # noqa: ARG002 - the signature of ResultWriter
    ) -> None:
        """See ResultWriter."""
        check_diameters(path, content.volume, content.segments)


def _measured(header: ResultHeader, segment: ResultSegment) -> tuple[Group, SourceFrame]:
    """Both axes of a segment, and the slice that they are drawn on."""
    axes = diameters(segment, header.volume)
    frame = header.volume.frames[axes.z]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking_of(header, segment.tracking_id),
        finding_category=sr_code(segment.category),
        finding_type=sr_code(segment.type),
        finding_sites=sites_of(segment),
        algorithm_id=algorithm_of(header.algorithm),
        measurements=[
            _line(LONG_AXIS, axes.long_mm, axes.long_px, frame),
            _line(SHORT_AXIS, axes.short_mm, axes.short_px, frame),
        ],
    )
    return commented(group, segment.doubt), frame


def _line(
    name: SrCode, length_mm: float, ends_px: NDArray[np.float64], frame: SourceFrame
) -> sr.Measurement:
    """A length inferred from a line between two points (column, row) of an image."""
    image = sr.SourceImageForRegion(
        frame.sop_class_uid,
        frame.sop_instance_uid,
        None if frame.frame_number is None else [frame.frame_number],
    )
    line = sr.CoordinatesForMeasurement(sr.GraphicTypeValues.POLYLINE, ends_px, image)
    return sr.Measurement(
        name=name, value=rounded(length_mm), unit=MILLIMETER, referenced_coordinates=[line]
    )
