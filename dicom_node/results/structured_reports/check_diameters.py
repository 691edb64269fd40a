"""An independent check of diameters before they are sent: the lines, read with pydicom alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from dicom_node.results.structured_reports.tree import (
    Key,
    below,
    check_comment,
    check_evidence,
    check_structure,
    number_of,
    only,
    require,
)
from dicom_node.values import ResultSegment, SourceVolume

# Written a second time on purpose: a wrong code in the writer's table must not pass here
_GROUP = ("125007", "DCM")  # Measurement Group
_LONG_AXIS = ("103339001", "SCT")
_SHORT_AXIS = ("103340004", "SCT")

_NEAR_MM = 0.01  # points are float32, lengths are rounded to a thousandth
_SQUARE = 0.001  # the cosine of the angle between both lines
_NEAR_PX = 0.51  # half a pixel from its centre to its edge


def check_diameters(path: Path, volume: SourceVolume, segments: Sequence[ResultSegment]) -> None:
    """Raise ResultMismatch unless the SR at `path` draws both axes of `segments` on `volume`.

    Compared: study and evidence; for each structure finding, site, laterality, tracking and doubt;
    of the lines that both lie on the structure's largest slice, are as long in the patient as they
    say and at right angles, and that the long one ends on the structure's edge.
    """
    report = dcmread(path)
    require(report.SOPClassUID == EnhancedSRStorage, "another SOP class")
    require(report.StudyInstanceUID == volume.study_instance_uid, "another study")
    check_evidence(report, volume, None)
    groups = list(below(report, _GROUP))
    require(len(groups) == len(segments), f"{len(groups)} measurement groups")
    for group, segment in zip(groups, segments, strict=True):
        check_structure(group, segment)
        check_comment(group, segment.doubt, segment.label)
        _check_axes(group, segment, volume)


def _check_axes(group: Dataset, segment: ResultSegment, volume: SourceVolume) -> None:
    """Check where both lines lie and how long they are."""
    long_axis, short_axis = (
        _line(group, name, segment, volume) for name in (_LONG_AXIS, _SHORT_AXIS)
    )
    rows, columns = np.nonzero(segment.voxels.plane(int(segment.voxels.areas.argmax())))
    ends_px = (columns + 0.5, rows + 0.5)
    for point in long_axis[0]:
        near = np.maximum(*(np.abs(of - at) for of, at in zip(ends_px, point, strict=True)))
        require(bool(near.min() <= _NEAR_PX), f"a long axis that leaves {segment.label}")
    long_mm, short_mm = long_axis[1], short_axis[1]
    cosine = abs(float(long_mm @ short_mm)) / float(
        np.linalg.norm(long_mm) * np.linalg.norm(short_mm)
    )
    require(cosine < _SQUARE, f"axes of {segment.label} that are not at right angles")


def _line(
    group: Dataset, name: Key, segment: ResultSegment, volume: SourceVolume
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ends (column, row) (2, 2) of the line that a length is inferred from, and the way from
    one to the other (3,) in mm; ResultMismatch unless it lies on the right slice and is as long as
    it says.
    """
    (coordinates,) = only(group, name).ContentSequence
    (image,) = coordinates.ContentSequence
    frame = volume.frames[int(segment.voxels.areas.argmax())]
    referred = image.ReferencedSOPSequence[0]
    require(
        (referred.ReferencedSOPInstanceUID, referred.get("ReferencedFrameNumber"))
        == (frame.sop_instance_uid, frame.frame_number),
        f"an axis of {segment.label} on another image",
    )
    require(
        coordinates.GraphicType == "POLYLINE" and len(coordinates.GraphicData) == 4,
        f"an axis of {segment.label} that is no line",
    )
    ends_px = np.array(coordinates.GraphicData, dtype=np.float64).reshape(2, 2)
    columns, rows = ends_px[1] - ends_px[0]
    _, step_y, step_x = volume.affine_zyx_to_lps[:3, :3].T
    way_mm: NDArray[np.float64] = rows * step_y + columns * step_x
    difference = abs(number_of(group, name, "mm") - float(np.linalg.norm(way_mm)))
    require(difference <= _NEAR_MM, f"an axis of {segment.label} of another length")
    return ends_px, way_mm
