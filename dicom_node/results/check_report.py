"""An independent check of a report before it is sent: its content tree, read with pydicom alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from dicom_node.errors import ResultMismatch
from dicom_node.results.structured_reports.tree import (
    below,
    check_comment,
    check_evidence,
    check_structure,
    code_of,
    items_of,
    number_of,
    only,
    require,
)
from dicom_node.values import ResultSegment, SourceVolume, UndrawnFinding, WrittenResult

# Written a second time on purpose: a wrong code in the writer's table must not pass here
_GROUP = ("125007", "DCM")  # Measurement Group
_TRACKING_UID = ("112040", "DCM")
_SEGMENT = ("121191", "DCM")
_SEGMENT_FRAME = ("121214", "DCM")  # Referenced Segmentation Frame
_SERIES = ("121232", "DCM")  # Source series for segmentation
_IMAGE = ("121233", "DCM")  # Source image for segmentation
_AREA = ("42798000", "SCT")

_IDENTIFIED = "SegmentIdentificationSequence"
_VOLUME = ("118565006", "SCT")
_LONG_AXIS = ("103339001", "SCT")
_SHORT_AXIS = ("103340004", "SCT")
_PRESENCE = ("121052", "DCM")
_NOT_VISUALIZED = ("122288", "DCM")
_UNDETERMINED = ("373068000", "SCT")


def check_report(
    path: Path,
    volume: SourceVolume,
    segments: Sequence[ResultSegment],
    undrawn: Sequence[UndrawnFinding],
    segmentation: WrittenResult | None,
) -> None:
    """Raise ResultMismatch unless the SR at `path` reports `segments`, then `undrawn`, on `volume`.

    Compared: study and evidence; for each structure finding, site, laterality and tracking; for
    found ones the volume to a thousandth, plausible diameters, the segment referred to, whose
    tracking UID in the SEG's own bytes is the group's, and the source series; for others the
    evaluation and the lack of any number. OSError when a file is gone.
    """
    report = dcmread(path)
    require(report.SOPClassUID == EnhancedSRStorage, "another SOP class")
    require(report.StudyInstanceUID == volume.study_instance_uid, "another study")
    check_evidence(report, volume, segmentation)
    groups = list(below(report, _GROUP))
    require(len(groups) == len(segments) + len(undrawn), f"{len(groups)} measurement groups")
    seg = None if segmentation is None else dcmread(segmentation.path, stop_before_pixels=True)
    for number, (group, segment) in enumerate(zip(groups, segments, strict=False), start=1):
        check_structure(group, segment)
        check_comment(group, segment.doubt, segment.label)
        if volume.single_image:
            _check_area(group, segment, volume)
        else:
            _check_volume(group, segment, volume)
        if volume.sized:
            _check_axes(group, segment, volume)
        _check_segment_reference(group, number, volume, seg)
    for group, finding in zip(groups[len(segments) :], undrawn, strict=True):
        check_structure(group, finding)
        check_comment(group, finding.reason, finding.label)
        evaluation = code_of(only(group, _PRESENCE).ConceptCodeSequence[0])
        expected = _UNDETERMINED if finding.uncertain else _NOT_VISUALIZED
        require(evaluation == expected, f"another evaluation of {finding.label}")
        require(
            not [item for item in items_of(group) if item.ValueType == "NUM"],
            f"a number for {finding.label}",
        )


def _check_volume(group: Dataset, segment: ResultSegment, volume: SourceVolume) -> None:
    """Check the volume: voxels times the parallelepiped |z . (y x x)| that the steps span."""
    step_z, step_y, step_x = volume.affine_zyx_to_lps[:3, :3].T
    voxel_ml = abs(float(np.dot(step_z, np.cross(step_y, step_x)))) / 1000.0
    expected = float(segment.voxels.box.sum(dtype=np.int64)) * voxel_ml
    require(
        abs(number_of(group, _VOLUME, "mL") - expected) <= 0.001 + 0.001 * expected,
        f"another volume of {segment.label}",
    )


def _check_area(group: Dataset, segment: ResultSegment, volume: SourceVolume) -> None:
    """Check the area; there must be no volume, and no millimetres where they are unknown."""
    step_y, step_x = (float(np.linalg.norm(step)) for step in volume.affine_zyx_to_lps[:3, 1:3].T)
    pixels = float(segment.voxels.box.sum(dtype=np.int64))
    expected = pixels * step_y * step_x if volume.sized else pixels
    measured = number_of(group, _AREA, "mm2" if volume.sized else "{pixels}")
    require(
        abs(measured - expected) <= 0.001 + 0.001 * expected, f"another area of {segment.label}"
    )
    claimed = [_VOLUME] if volume.sized else [_VOLUME, _LONG_AXIS, _SHORT_AXIS]
    require(
        not any(list(below(group, name)) for name in claimed),
        f"more about the size of {segment.label} than its picture tells",
    )


def _check_axes(group: Dataset, segment: ResultSegment, volume: SourceVolume) -> None:
    """Check that the diameters fit into the mask's bounding rectangle."""
    _, step_y, step_x = volume.affine_zyx_to_lps[:3, :3].T
    rows, columns = np.nonzero(np.any(segment.voxels.box, axis=0))
    height = (int(rows.max()) - int(rows.min()) + 1) * float(np.linalg.norm(step_y))
    width = (int(columns.max()) - int(columns.min()) + 1) * float(np.linalg.norm(step_x))
    long_mm, short_mm = number_of(group, _LONG_AXIS, "mm"), number_of(group, _SHORT_AXIS, "mm")
    require(
        0 < short_mm <= long_mm <= float(np.hypot(height, width)) + 0.001,
        f"odd diameters of {segment.label}",
    )


def _check_segment_reference(
    group: Dataset, number: int, volume: SourceVolume, seg: Dataset | None
) -> None:
    """Check that the group refers to its own segment and source."""
    if seg is None:
        raise ResultMismatch("the report refers to a segmentation that there is none of")
    name = _SEGMENT_FRAME if volume.single_image else _SEGMENT
    referred = only(group, name).ReferencedSOPSequence[0]
    require(
        referred.ReferencedSOPInstanceUID == seg.SOPInstanceUID,
        "a reference to another segmentation",
    )
    require(_segment_of(referred, seg) == number, f"a reference to another segment than {number}")
    tracked = seg.SegmentSequence[number - 1].TrackingUID
    require(
        tracked == only(group, _TRACKING_UID).UID, f"another tracking UID than segment {number}"
    )
    if not volume.single_image:
        require(volume.series_instance_uid == only(group, _SERIES).UID, "another source series")
        return
    image = only(group, _IMAGE).ReferencedSOPSequence[0]
    require(
        image.ReferencedSOPInstanceUID == volume.frames[0].sop_instance_uid, "another source image"
    )


def _segment_of(referred: Dataset, seg: Dataset) -> int:
    """The segment that a reference names, itself or by one of its frames (PS3.3 table C.18.4-1)."""
    if "ReferencedFrameNumber" not in referred:
        return int(referred.ReferencedSegmentNumber)
    index = int(referred.ReferencedFrameNumber) - 1
    # a lone segment is named once for all frames
    groups = [seg.PerFrameFunctionalGroupsSequence[index], *seg.SharedFunctionalGroupsSequence]
    named = [group.SegmentIdentificationSequence[0] for group in groups if _IDENTIFIED in group]
    return int(named[0].ReferencedSegmentNumber)
