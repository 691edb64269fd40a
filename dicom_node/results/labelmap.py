"""A checked BINARY SEG as a LABELMAP (Supplement 243): a frame a slice, a number a segment.

It is made from the BINARY file when it is sent, and has UIDs of its own that follow from those, as
has the report that refers to it. A hundred structures on 300 slices take 1 MB so, and 170 MB as
bits; few archives and viewers take it yet.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
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
    seg = dcmread(binary.path)
    if seg.get("SegmentsOverlap") != "NO" or not _places(seg):
        return ()
    labels = _labels(seg)
    labelmap = _labelmap(seg, labels, encoding)
    path = folder / binary.path.name
    with whole_file(path, lambda temporary: check_labelmap(temporary, labels)) as new_file:
        labelmap.save_as(new_file, enforce_file_format=True)
    written = _written(binary, labelmap, path)
    return tuple(
        written if result is binary else _referring(result, binary, written, folder)
        for result in results
    )


def check_labelmap(path: Path, labels: NDArray[np.uint16]) -> None:
    """Raise ResultMismatch unless the file at `path` decodes to `labels` (frame, row, column)."""
    decoded = dcmread(path).pixel_array
    if not np.array_equal(decoded.reshape(labels.shape), labels):
        raise ResultMismatch("the label map read back from its file has other voxels")


def _labels(seg: Dataset) -> NDArray[np.uint16]:
    """The numbers of segments (slice, row, column), slices in the order of their first frames."""
    slices = {place: index for index, place in enumerate(dict.fromkeys(_places(seg)))}
    labels = np.zeros((len(slices), int(seg.Rows), int(seg.Columns)), dtype=np.uint16)
    for place, number, bits in zip(_places(seg), _numbers(seg), _frames(seg), strict=True):
        labels[slices[place]][bits] = number
    return labels


def _frames(seg: Dataset) -> Iterator[NDArray[np.bool_]]:
    """The frames of a BINARY SEG one after another, as bits (PS3.5 8.1.1)."""
    size = int(seg.Rows) * int(seg.Columns)
    packed = np.frombuffer(seg.PixelData, np.uint8)
    for start in range(0, size * int(seg.NumberOfFrames), size):
        bits = np.unpackbits(packed[start // 8 : -(-(start + size) // 8)], bitorder="little")
        yield bits[start % 8 :][:size].reshape(seg.Rows, seg.Columns).view(np.bool_)


def _places(seg: Dataset) -> list[_Place]:
    """Image Position (Patient) of each frame; none where a frame has no place."""
    groups = [item.get("PlanePositionSequence") for item in seg.PerFrameFunctionalGroupsSequence]
    shared = seg.SharedFunctionalGroupsSequence[0].get("PlanePositionSequence")
    positions = [items or shared for items in groups]
    if not all(positions):
        return []
    return [tuple(map(str, items[0].ImagePositionPatient)) for items in positions]


def _numbers(seg: Dataset) -> list[int]:
    shared = seg.SharedFunctionalGroupsSequence[0]
    return [
        int(
            (item if "SegmentIdentificationSequence" in item else shared)
            .SegmentIdentificationSequence[0]
            .ReferencedSegmentNumber
        )
        for item in seg.PerFrameFunctionalGroupsSequence
    ]


def _labelmap(seg: Dataset, labels: NDArray[np.uint16], encoding: SegmentationEncoding) -> Dataset:
    """The object with one frame a slice and without the dimension that told segments apart."""
    labelmap = deepcopy(seg)
    _rename(labelmap, encoding)
    labelmap.SOPClassUID = labelmap.file_meta.MediaStorageSOPClassUID = LABELMAP_STORAGE
    labelmap.SegmentationType = "LABELMAP"
    labelmap.add_new("PixelPaddingValue", "US", 0)
    _arrange(labelmap)
    wide = len(labelmap.SegmentSequence) > np.iinfo(np.uint8).max
    pixels = labels if wide else labels.astype(np.uint8)
    labelmap.BitsAllocated = labelmap.BitsStored = 8 * pixels.itemsize
    labelmap.HighBit = labelmap.BitsStored - 1
    labelmap.NumberOfFrames = len(pixels)
    _put(labelmap, pixels, TRANSFER_SYNTAX[encoding])
    return labelmap


def _arrange(labelmap: Dataset) -> None:
    """One item a slice, the first of its frames; none names a segment."""
    items = dict(
        reversed(
            list(zip(_places(labelmap), labelmap.PerFrameFunctionalGroupsSequence, strict=True))
        )
    )
    groups = [items[place] for place in dict.fromkeys(_places(labelmap))]
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


def _put(labelmap: Dataset, pixels: NDArray[np.unsignedinteger], syntax: UID) -> None:
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
