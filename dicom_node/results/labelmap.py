"""A checked BINARY SEG as a LABELMAP (Supplement 243): a frame a slice, a number a segment.

It is made from the BINARY file when it is sent, and has UIDs of its own that follow from those, as
has the report that refers to it. A hundred structures on 300 slices take 1 MB so, and 170 MB as
bits; few archives and viewers take it yet.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.durable import whole_file
from dicom_node.errors import ResultMismatch
from dicom_node.result_kinds import SegmentationEncoding
from dicom_node.results.segmentation_frames import BinaryFrames
from dicom_node.values import ResultKind, WrittenResult

LABELMAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage (PS3.4 table B.5-1), which pydicom's dictionary lacks."""

TRANSFER_SYNTAX: Mapping[SegmentationEncoding, UID] = {
    SegmentationEncoding.BINARY: ExplicitVRLittleEndian,
    SegmentationEncoding.LABELMAP: ExplicitVRLittleEndian,
    SegmentationEncoding.LABELMAP_RLE: RLELossless,
    SegmentationEncoding.LABELMAP_JPEGLS: JPEGLSLossless,
}
_SEGMENT_NUMBER = Tag("ReferencedSegmentNumber")
_Place: TypeAlias = tuple[str, ...]
_Labels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]


def as_labelmap(
    results: Sequence[WrittenResult], encoding: SegmentationEncoding, folder: Path
) -> tuple[WrittenResult, ...]:
    """The results with their SEG as `encoding` and references to it, in files of `folder`.

    Empty where no label map can say the same: without a SEG, on a single image (whose report names
    frames), and where segments overlap. ResultMismatch when the file is not what was intended.
    """
    binary = next((result for result in results if result.kind is ResultKind.SEG), None)
    if binary is None:
        return ()
    with binary.path.open("rb") as file:
        seg = dcmread(file, stop_before_pixels=True)
        if seg.get("SegmentsOverlap") != "NO" or not _has_places(seg):
            return ()
        frames = BinaryFrames(seg, file)
        slices = _first_of_slices(frames)
        labels = _labels(frames, slices, len(seg.SegmentSequence))
    labelmap = _labelmap(seg, [slices[place] for place in slices], labels, encoding)
    path = folder / binary.path.name
    with whole_file(path, lambda temporary: check_labelmap(temporary, labels)) as new_file:
        labelmap.save_as(new_file, enforce_file_format=True)
    written = _written(binary, labelmap, path)
    return tuple(
        written if result is binary else _referring(result, binary, written, folder)
        for result in results
    )


def check_labelmap(path: Path, labels: _Labels) -> None:
    """Raise ResultMismatch unless the file at `path` decodes to `labels` (frame, row, column)."""
    decoded = dcmread(path).pixel_array
    if not np.array_equal(decoded.reshape(labels.shape), labels):
        raise ResultMismatch("the label map read back from its file has other voxels")


def _has_places(seg: Dataset) -> bool:
    """Whether every frame has an Image Position (Patient)."""
    groups = (*seg.SharedFunctionalGroupsSequence, *seg.PerFrameFunctionalGroupsSequence)
    shared, *per_frame = ("PlanePositionSequence" in item for item in groups)
    return shared or all(per_frame)


def _place(frames: BinaryFrames, group: Dataset) -> _Place:
    """Image Position (Patient) of a frame, as it is written."""
    return frames.decoded(
        group, ["PlanePositionSequence"], lambda item: tuple(map(str, item.ImagePositionPatient))
    )


def _first_of_slices(frames: BinaryFrames) -> dict[_Place, Dataset]:
    """The item of each slice's first frame, slices in the order of those."""
    first: dict[_Place, Dataset] = {}
    for group in frames.groups:
        first.setdefault(_place(frames, group), group)
    return first


def _labels(frames: BinaryFrames, slices: Iterable[_Place], segments: int) -> _Labels:
    """The numbers of segments (slice, row, column), the frames read one after another."""
    index_of = {place: index for index, place in enumerate(slices)}
    labels = np.zeros(
        (len(index_of), *frames.matrix),
        dtype=np.uint8 if segments <= np.iinfo(np.uint8).max else np.uint16,
    )
    for index, group in enumerate(frames.groups):
        bits = frames.unpacked(index)
        rows = np.flatnonzero(bits.any(axis=1))
        if rows.size:
            inside = slice(rows[0], rows[-1] + 1)
            plane = labels[index_of[_place(frames, group)]]
            plane[inside][bits[inside]] = frames.segment(group) + 1
    return labels


def _labelmap(
    seg: Dataset, groups: list[Dataset], labels: _Labels, encoding: SegmentationEncoding
) -> Dataset:
    """`seg`, now with `groups`, one frame a slice, and without the dimension that told segments
    apart.
    """
    _rename(seg, encoding)
    seg.SOPClassUID = seg.file_meta.MediaStorageSOPClassUID = LABELMAP_STORAGE
    seg.SegmentationType = "LABELMAP"
    seg.add_new("PixelPaddingValue", "US", 0)
    _arrange(seg, groups)
    seg.BitsAllocated = seg.BitsStored = 8 * labels.itemsize
    seg.HighBit = seg.BitsStored - 1
    seg.NumberOfFrames = len(labels)
    _put(seg, labels, TRANSFER_SYNTAX[encoding])
    return seg


def _arrange(labelmap: Dataset, groups: list[Dataset]) -> None:
    """One item a slice, of which none names a segment."""
    dimensions = list(labelmap.DimensionIndexSequence)
    others = [
        i for i, item in enumerate(dimensions) if item.DimensionIndexPointer != _SEGMENT_NUMBER
    ]
    for item in (*groups, labelmap.SharedFunctionalGroupsSequence[0]):
        if "SegmentIdentificationSequence" in item:
            del item.SegmentIdentificationSequence
    for item in groups:
        content = item.FrameContentSequence[0]
        values = content.DimensionIndexValues
        values = list(values) if len(dimensions) > 1 else [values]
        content.DimensionIndexValues = [values[i] for i in others]
    labelmap.DimensionIndexSequence = [dimensions[i] for i in others]
    labelmap.PerFrameFunctionalGroupsSequence = groups


def _put(labelmap: Dataset, pixels: _Labels, syntax: UID) -> None:
    """The pixels in their transfer syntax, a fragment a frame where that compresses."""
    labelmap.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRLittleEndian:
        data = pixels.tobytes()
        labelmap.PixelData = data + b"\0" * (len(data) % 2)
        labelmap["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
        return
    encoder = get_encoder(syntax)
    options = {
        "rows": pixels.shape[1],
        "columns": pixels.shape[2],
        "samples_per_pixel": 1,
        "bits_allocated": labelmap.BitsAllocated,
        "bits_stored": labelmap.BitsStored,
        "pixel_representation": 0,
        "photometric_interpretation": labelmap.PhotometricInterpretation,
        "number_of_frames": 1,
    }
    frames = [encoder.encode(np.ascontiguousarray(plane), **options) for plane in pixels]
    labelmap.PixelData = encapsulate(frames)
    labelmap["PixelData"].VR = "OB"
    labelmap["PixelData"].is_undefined_length = True


def _rename(result: Dataset, encoding: SegmentationEncoding) -> None:
    """UIDs that follow from those of the BINARY SEG: it is another instance and series."""
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        setattr(result, keyword, _derived(str(result[keyword].value), encoding))
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID


def _derived(uid: str, encoding: SegmentationEncoding) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{uid} {encoding}').int}"


def _written(result: WrittenResult, ds: Dataset, path: Path) -> WrittenResult:
    return replace(
        result,
        path=path,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
    )


def _referring(
    result: WrittenResult, binary: WrittenResult, labelmap: WrittenResult, folder: Path
) -> WrittenResult:
    """A result that refers to the label map where it referred to the BINARY SEG."""
    ds = dcmread(result.path)
    new_uid = {
        binary.sop_instance_uid: labelmap.sop_instance_uid,
        binary.series_instance_uid: labelmap.series_instance_uid,
    }
    for element in ds.iterall():
        if element.VR == "UI" and str(element.value) in new_uid:
            element.value = new_uid[str(element.value)]
    _refer_by_class(ds, labelmap)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        own = str(ds[keyword].value)
        setattr(
            ds,
            keyword,
            f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, own + labelmap.sop_instance_uid).int}",
        )
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    path = folder / result.path.name
    ds.save_as(path, enforce_file_format=True)
    return _written(result, ds, path)


def _refer_by_class(ds: Dataset, labelmap: WrittenResult) -> None:
    """The class of every reference to the label map."""
    for element in ds:
        for item in element.value if element.VR == "SQ" else ():
            if item.get("ReferencedSOPInstanceUID") == labelmap.sop_instance_uid:
                item.ReferencedSOPClassUID = labelmap.sop_class_uid
            _refer_by_class(item, labelmap)
