"""An independent check of a report before it is sent: its content tree, read with pydicom alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedSRStorage

from dicom_node.errors import ResultMismatch
from dicom_node.values import (
    Code,
    ResultSegment,
    SourceVolume,
    UndrawnFinding,
    WrittenResult,
    site_of,
)

# Written a second time on purpose: a wrong code in the writer's table must not pass here
_GROUP = ("125007", "DCM")  # Measurement Group
_TRACKING_IDENTIFIER = ("112039", "DCM")
_TRACKING_UID = ("112040", "DCM")
_FINDING = ("121071", "DCM")
_SITE = ("363698007", "SCT")
_LATERALITY = ("272741003", "SCT")
_SEGMENT = ("121191", "DCM")
_SEGMENT_FRAME = ("121214", "DCM")  # Referenced Segmentation Frame
_SERIES = ("121232", "DCM")  # Source series for segmentation
_IMAGE = ("121233", "DCM")  # Source image for segmentation
_AREA = ("42798000", "SCT")

_IDENTIFIED = "SegmentIdentificationSequence"
_VOLUME = ("118565006", "SCT")
_LONG_AXIS = ("103339001", "SCT")
_SHORT_AXIS = ("103340004", "SCT")
_COMMENT = ("121106", "DCM")
_PRESENCE = ("121052", "DCM")
_NOT_VISUALIZED = ("122288", "DCM")
_UNDETERMINED = ("373068000", "SCT")

_COMPARED = 500  # letters of a comment, which may have been cut

Key = tuple[str, str]


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
    _require(report.SOPClassUID == EnhancedSRStorage, "another SOP class")
    _require(report.StudyInstanceUID == volume.study_instance_uid, "another study")
    _check_evidence(report, volume, segmentation)
    groups = list(_below(report, _GROUP))
    _require(len(groups) == len(segments) + len(undrawn), f"{len(groups)} measurement groups")
    seg = None if segmentation is None else dcmread(segmentation.path, stop_before_pixels=True)
    for number, (group, segment) in enumerate(zip(groups, segments, strict=False), start=1):
        _check_structure(group, segment)
        _check_comment(group, segment.doubt, segment.label)
        if volume.single_image:
            _check_area(group, segment, volume)
        else:
            _check_volume(group, segment, volume)
        if volume.sized:
            _check_axes(group, segment, volume)
        _check_segment_reference(group, number, volume, seg)
    for group, finding in zip(groups[len(segments) :], undrawn, strict=True):
        _check_structure(group, finding)
        _check_comment(group, finding.reason, finding.label)
        evaluation = _code(_only(group, _PRESENCE).ConceptCodeSequence[0])
        expected = _UNDETERMINED if finding.uncertain else _NOT_VISUALIZED
        _require(evaluation == expected, f"another evaluation of {finding.label}")
        _require(
            not [item for item in _items(group) if item.ValueType == "NUM"],
            f"a number for {finding.label}",
        )


def _require(same: bool, what: str) -> None:
    if not same:
        raise ResultMismatch(f"the report read back from its file has {what}")


def _items(item: Dataset) -> list[Dataset]:
    """The content items directly below one."""
    return list(item.get("ContentSequence") or [])


def _code(item: Dataset) -> Key:
    """Value and scheme of a coded item; the meaning is for people."""
    return str(item.CodeValue), str(item.CodingSchemeDesignator)


def _below(item: Dataset, name: Key) -> Iterator[Dataset]:
    """All content items of that concept name anywhere below, in document order."""
    for child in _items(item):
        concept = child.get("ConceptNameCodeSequence")
        if concept and _code(concept[0]) == name:
            yield child
        yield from _below(child, name)


def _only(group: Dataset, name: Key) -> Dataset:
    """The one content item of that concept name below a group."""
    matches = list(_below(group, name))
    _require(len(matches) == 1, f"{len(matches)} items of concept {name[0]} in one group")
    return matches[0]


def _check_evidence(
    report: Dataset, volume: SourceVolume, segmentation: WrittenResult | None
) -> None:
    """Check that evidence is every instance of the source and the SEG, in one study."""
    study = report.CurrentRequestedProcedureEvidenceSequence
    _require(
        [item.StudyInstanceUID for item in study] == [volume.study_instance_uid],
        "evidence of another study",
    )
    named = {
        series.SeriesInstanceUID: {
            item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence
        }
        for series in study[0].ReferencedSeriesSequence
    }
    expected = {volume.series_instance_uid: {frame.sop_instance_uid for frame in volume.frames}}
    if segmentation is not None:
        expected[segmentation.series_instance_uid] = {segmentation.sop_instance_uid}
    _require(named == expected, "other evidence than its sources")


def _check_structure(group: Dataset, structure: ResultSegment | UndrawnFinding) -> None:
    """Check tracking, finding, site and laterality of a group."""
    _require(
        _only(group, _TRACKING_IDENTIFIER).TextValue == structure.tracking_id[:64],
        f"another tracking identifier for {structure.label}",
    )
    expected = (structure.type.value, structure.type.scheme)
    _require(
        _code(_only(group, _FINDING).ConceptCodeSequence[0]) == expected,
        f"another finding for {structure.label}",
    )
    site = site_of(structure)
    sites = [] if site is None else _keys(site.type)
    sides = [] if site is None else _keys(site.laterality)
    site_items = list(_below(group, _SITE))
    _require(
        [_code(item.ConceptCodeSequence[0]) for item in site_items] == sites,
        f"another site for {structure.label}",
    )
    _require(
        [
            _code(side.ConceptCodeSequence[0])
            for item in site_items
            for side in _below(item, _LATERALITY)
        ]
        == sides,
        f"another laterality for {structure.label}",
    )


def _check_comment(group: Dataset, text: str, label: str) -> None:
    """Check that what is in doubt is said, where there is a doubt, and nothing where there is
    none; its letters may have been replaced by plain ones.
    """
    comments = [str(item.TextValue) for item in _below(group, _COMMENT)]
    _require(len(comments) == bool(text.strip()), f"another comment on {label}")
    same = [_letters(comment)[:_COMPARED] == _letters(text)[:_COMPARED] for comment in comments]
    _require(all(same) or not text.isascii(), f"another comment on {label}")


def _letters(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def _keys(code: Code | None) -> list[Key]:
    return [] if code is None else [(code.value, code.scheme)]


def _check_volume(group: Dataset, segment: ResultSegment, volume: SourceVolume) -> None:
    """Check the volume: voxels times the parallelepiped |z . (y x x)| that the steps span."""
    step_z, step_y, step_x = volume.affine_zyx_to_lps[:3, :3].T
    voxel_ml = abs(float(np.dot(step_z, np.cross(step_y, step_x)))) / 1000.0
    expected = float(segment.voxels.box.sum(dtype=np.int64)) * voxel_ml
    _require(
        abs(_number(group, _VOLUME, "mL") - expected) <= 0.001 + 0.001 * expected,
        f"another volume of {segment.label}",
    )


def _check_area(group: Dataset, segment: ResultSegment, volume: SourceVolume) -> None:
    """Check the area; there must be no volume, and no millimetres where they are unknown."""
    step_y, step_x = (float(np.linalg.norm(step)) for step in volume.affine_zyx_to_lps[:3, 1:3].T)
    pixels = float(segment.voxels.box.sum(dtype=np.int64))
    expected = pixels * step_y * step_x if volume.sized else pixels
    measured = _number(group, _AREA, "mm2" if volume.sized else "{pixels}")
    _require(
        abs(measured - expected) <= 0.001 + 0.001 * expected, f"another area of {segment.label}"
    )
    claimed = [_VOLUME] if volume.sized else [_VOLUME, _LONG_AXIS, _SHORT_AXIS]
    _require(
        not any(list(_below(group, name)) for name in claimed),
        f"more about the size of {segment.label} than its picture tells",
    )


def _check_axes(group: Dataset, segment: ResultSegment, volume: SourceVolume) -> None:
    """Check that the diameters fit into the mask's bounding rectangle."""
    _, step_y, step_x = volume.affine_zyx_to_lps[:3, :3].T
    rows, columns = np.nonzero(np.any(segment.voxels.box, axis=0))
    height = (int(rows.max()) - int(rows.min()) + 1) * float(np.linalg.norm(step_y))
    width = (int(columns.max()) - int(columns.min()) + 1) * float(np.linalg.norm(step_x))
    long_mm, short_mm = _number(group, _LONG_AXIS, "mm"), _number(group, _SHORT_AXIS, "mm")
    _require(
        0 < short_mm <= long_mm <= float(np.hypot(height, width)) + 0.001,
        f"odd diameters of {segment.label}",
    )


def _number(group: Dataset, name: Key, unit: str) -> float:
    """The value of a NUM item in the unit it must have."""
    measured = _only(group, name).MeasuredValueSequence[0]
    _require(
        _code(measured.MeasurementUnitsCodeSequence[0]) == (unit, "UCUM"),
        f"concept {name[0]} in another unit",
    )
    return float(measured.NumericValue)


def _check_segment_reference(
    group: Dataset, number: int, volume: SourceVolume, seg: Dataset | None
) -> None:
    """Check that the group refers to its own segment and source."""
    if seg is None:
        raise ResultMismatch("the report refers to a segmentation that there is none of")
    name = _SEGMENT_FRAME if volume.single_image else _SEGMENT
    referred = _only(group, name).ReferencedSOPSequence[0]
    _require(
        referred.ReferencedSOPInstanceUID == seg.SOPInstanceUID,
        "a reference to another segmentation",
    )
    _require(_segment_of(referred, seg) == number, f"a reference to another segment than {number}")
    tracked = seg.SegmentSequence[number - 1].TrackingUID
    _require(
        tracked == _only(group, _TRACKING_UID).UID, f"another tracking UID than segment {number}"
    )
    if not volume.single_image:
        _require(volume.series_instance_uid == _only(group, _SERIES).UID, "another source series")
        return
    image = _only(group, _IMAGE).ReferencedSOPSequence[0]
    _require(
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
