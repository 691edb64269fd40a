"""A DICOM SEG of what was drawn: one BINARY object on the source's own grid."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as SegmentationObject
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.datasets.source_planes import read_planes
from dicom_node.results.check_segmentation import check_segmentation
from dicom_node.results.frame_groups import covering, multiply
from dicom_node.results.packed_frames import PackedFrames
from dicom_node.results.result_header import (
    STAND_IN_UID,
    ResultHeader,
    algorithm_identification,
    shortened,
    sr_code,
    titled,
)
from dicom_node.results.uids import result_uid
from dicom_node.values import (
    ResultContent,
    ResultIdentity,
    ResultKind,
    ResultSegment,
    SourceVolume,
    WrittenResult,
)
from dicom_node.voxels import Voxels, overlap

_log = logging.getLogger(__name__)


class SegmentationWriter:
    """A ResultWriter of DICOM SEG: the segments of a result on the grid of its volume.

    BINARY, Explicit VR Little Endian, a frame only where a segment has voxels. The source files
    must still be there: patient, study and geometry are taken from them (PS3.3 A.51, C.8.20). On a
    single image it is placed by its pixel matrix alone.
    """

    kind = ResultKind.SEG
    file_name = "seg.dcm"

    def applies(self, content: ResultContent) -> bool:
        """See ResultWriter."""
        return bool(content.segments)

    def write(
        self,
        content: ResultContent,
        earlier: Sequence[WrittenResult],  # noqa: ARG002 - the signature of ResultWriter
    ) -> Dataset:
        """See ResultWriter; ValueError for no segments, an empty one or one on another grid."""
        _refuse_unusable(content.volume, content.segments)
        _tell_of_odd_frames(content.volume)
        title = titled(segment.label for segment in content.segments)
        return _assembled(ResultHeader.of(self.kind, title, content), content.segments)

    def check(
        self,
        path: Path,
        content: ResultContent,
        earlier: Sequence[WrittenResult],  # noqa: ARG002 - the signature of ResultWriter
    ) -> None:
        """See ResultWriter."""
        check_segmentation(path, content.volume, content.segments)


def tracking_uid(identity: ResultIdentity, tracking_id: str) -> str:
    """The Tracking UID that a structure has in SEG and SR alike."""
    return result_uid(identity, "tracking", tracking_id)


def _tell_of_odd_frames(volume: SourceVolume) -> None:
    """A line in the log where frames end within a byte, as they do in few series."""
    _, rows, columns = volume.intensities.shape
    if rows * columns % 8:
        _log.warning(
            "the frames of the SEG on series %s have %d x %d pixels, no multiple of 8, and end "
            "within a byte: Orthanc's DICOMweb, up to 1.10.1 at least, gives none of them out; a "
            'destination with segmentation = "labelmap" has no such frames',
            volume.series_instance_uid,
            rows,
            columns,
        )


def _refuse_unusable(volume: SourceVolume, segments: Sequence[ResultSegment]) -> None:
    """Refuse empty segments, on which viewers hang, and masks on another grid."""
    if not segments:
        raise ValueError(
            "a segmentation needs at least one segment; write a report when nothing was found"
        )
    for segment in segments:
        if segment.voxels.shape != volume.intensities.shape:
            raise ValueError(
                f"the mask of {segment.label!r} is {segment.voxels.shape}, its volume "
                f"{volume.intensities.shape}"
            )
        if not segment.voxels.count:
            raise ValueError(f"the segment {segment.label!r} is empty; report it as absent instead")


def _assembled(header: ResultHeader, segments: Sequence[ResultSegment]) -> Dataset:
    """The object of highdicom, with the source's own references, patient and study."""
    first = min(segment.voxels.slices.start for segment in segments)
    last = max(segment.voxels.slices[-1] for segment in segments)
    present = _present(segments, first, last)
    seg = SegmentationObject(
        source_images=[_stand_in(header, first, last)],
        pixel_array=covering(present).astype(np.uint8)[:, None, None, :],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, segment, header)
            for number, segment in enumerate(segments, start=1)
        ],
        content_label="SEGMENTATION",
        content_description=shortened(f"{_maker(header)}: {header.title}", 64),
        content_creator_name="Segnode^",
        omit_empty_frames=True,
        **header.arguments(),
    )
    places = _places(seg)
    _refer_to_source(seg, header, first)
    if header.volume.single_image:  # Type 2C where no plane says it (PS3.3 C.7.6.1.1.1)
        seg.PatientOrientation = header.source.get("PatientOrientation")
    _fix_dimension_uid(seg, header.identity)
    header.finish(seg)
    frames = multiply(seg, present, places)
    _fill(seg, header, [(segments[segment].voxels, first + z) for z, segment in frames])
    seg.SegmentsOverlap = "YES" if overlap([segment.voxels for segment in segments]) else "NO"
    return seg


def _maker(header: ResultHeader) -> str:
    return "AI, for review" if header.for_review else "AI"


def _stand_in(header: ResultHeader, first: int, last: int) -> Dataset:
    """The sources for highdicom: non-empty slices, or the one image (PS3.3 A.51.5.1)."""
    if header.volume.single_image:
        return header.stand_in_for_single_image()
    return header.stand_in_on_grid(read_planes(header.volume), first, last)


def _present(segments: Sequence[ResultSegment], first: int, last: int) -> NDArray[np.bool_]:
    """Which segment is on which of the slices `first`..`last`, as (slice, segment).

    It is all that highdicom needs to arrange the frames. Given the masks themselves it holds all of
    them at once, three times over: 11 GB for 500 slices and 40 segments.
    """
    areas = np.stack([segment.voxels.areas[first : last + 1] for segment in segments], axis=-1)
    return areas > 0


def _fill(seg: Dataset, header: ResultHeader, frames: Sequence[tuple[Voxels, int]]) -> None:
    """Put the masks into the arranged frames, of which each has its structure and slice."""
    _, seg.Rows, seg.Columns = header.volume.intensities.shape
    seg.PixelData = PackedFrames((seg.Rows, seg.Columns), frames)


def _places(seg: Dataset) -> list[tuple[int, int]]:
    """Frame of the stand-in and segment, both zero-based, of each arranged frame."""
    shared = seg.SharedFunctionalGroupsSequence[0]  # where the number of a single segment is
    return [
        (_stand_in_frame(group), _segment_number(group, shared) - 1)
        for group in seg.PerFrameFunctionalGroupsSequence
    ]


def _segment_number(group: Dataset, shared: Dataset) -> int:
    item = group if "SegmentIdentificationSequence" in group else shared
    return int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _stand_in_frame(group: Dataset) -> int:
    """The zero-based frame of the stand-in that a frame was derived from."""
    source = group.DerivationImageSequence[0].SourceImageSequence[0]
    return int(source.get("ReferencedFrameNumber", 1)) - 1


def _description(number: int, segment: ResultSegment, header: ResultHeader) -> SegmentDescription:
    """Segment Description macro (PS3.3 table C.8.20-4).

    Laterality is a modifier of the type or region (CID 244).
    """
    item = SegmentDescription(
        segment_number=number,
        segment_label=shortened(segment.label, 64),
        segmented_property_category=sr_code(segment.category),
        segmented_property_type=sr_code(segment.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_identification(header.algorithm),
        tracking_uid=tracking_uid(header.identity, segment.tracking_id),
        tracking_id=shortened(segment.tracking_id, 64),
        anatomic_regions=None if segment.region is None else [sr_code(segment.region.type)],
        display_color=CIELabColor(*segment.cielab),
    )
    if segment.doubts:  # type 3, ST: viewers show it beside the label
        item.SegmentDescription = shortened(segment.doubt, 1024)
    if segment.laterality is not None:
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            CodedConcept.from_code(sr_code(segment.laterality))
        ]
    if segment.region is not None and segment.region.laterality is not None:
        item.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [
            CodedConcept.from_code(sr_code(segment.region.laterality))
        ]
    return item


def _refer_to_source(seg: Dataset, header: ResultHeader, first: int) -> None:
    """Replace references to the stand-in by the source's instance and, if multi-frame, frame."""
    series_item = Dataset()
    series_item.SeriesInstanceUID = header.volume.series_instance_uid
    series_item.ReferencedInstanceSequence = header.source_references()
    seg.ReferencedSeriesSequence = [series_item]
    seg.SourceImageSequence = header.source_references()
    for group in seg.PerFrameFunctionalGroupsSequence:
        item = group.DerivationImageSequence[0].SourceImageSequence[0]
        if item.ReferencedSOPInstanceUID != STAND_IN_UID:
            continue  # segments on one slice share the item: it was replaced already
        source = header.volume.frames[first + _stand_in_frame(group)]
        item.ReferencedSOPClassUID = source.sop_class_uid
        item.ReferencedSOPInstanceUID = source.sop_instance_uid
        if source.frame_number is not None:
            item.ReferencedFrameNumber = source.frame_number
        elif "ReferencedFrameNumber" in item:
            del item.ReferencedFrameNumber


def _fix_dimension_uid(seg: Dataset, identity: ResultIdentity) -> None:
    """Replace highdicom's random UID by one that is derived, like all others."""
    derived = result_uid(identity, "SEG dimensions")
    seg.DimensionOrganizationSequence[0].DimensionOrganizationUID = derived
    for item in seg.DimensionIndexSequence:
        item.DimensionOrganizationUID = derived
