"""A SEG of anybody's as masks on its source: binary, fractional or a label map, by position.

What we wrote ourselves is checked more strictly (dicom_node.results.check_segmentation); here
frames may be compressed, cropped, mirrored or in any order, and each goes where its own functional
groups say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from dicom_node.annotations.annotated_structure import AnnotatedStructure, AnnotationHeader
from dicom_node.annotations.slices_of import SlicesOf
from dicom_node.datasets.codecs import plugin_of
from dicom_node.datasets.dataset_files import read_dataset
from dicom_node.datasets.source_planes import decimal_strings, numbers
from dicom_node.errors import UnreadableDataset, UnusableAnnotation
from dicom_node.identity import MANUFACTURER
from dicom_node.reading_errors import parsing, quietly
from dicom_node.values import Code, SourceVolume

_FRACTIONAL, _LABEL_MAP = "FRACTIONAL", "LABELMAP"  # the third, binary, is what remains
_Place = Callable[[Dataset, NDArray[np.bool_], NDArray[np.bool_]], None]
_CANNOT = "the segmentation {} cannot be used"


def read_segmentation_header(path: Path) -> AnnotationHeader:
    """What the SEG at `path` says of itself; UnusableAnnotation for a file that cannot be read."""
    with quietly(), parsing(UnusableAnnotation, _CANNOT.format(path.name)):
        seg = read_dataset(path)
        _require_segmentation(seg)
        series = [
            str(item.get("SeriesInstanceUID") or "")
            for item in seg.get("ReferencedSeriesSequence") or ()
        ]
        return AnnotationHeader(
            str(seg.get("SOPInstanceUID") or ""),
            series[0] if len(series) == 1 else "",
            str(seg.get("FrameOfReferenceUID") or ""),
            str(seg.get("Manufacturer") or "") == MANUFACTURER,
        )


def read_segments(path: Path, volume: SourceVolume) -> tuple[AnnotatedStructure, ...]:
    """The segments of the SEG at `path` on the grid of `volume`, in the order of their numbers.

    A segment without a pixel is there, empty. Half and more of a fractional segment's range is
    inside. UnusableAnnotation for an object that is damaged, lies in another frame of reference or
    on other planes or pixels, or was drawn on another image than a `single_image`.
    """
    with quietly(), parsing(UnusableAnnotation, _CANNOT.format(path.name)):
        seg = read_dataset(path, pixels=True)
        _require_segmentation(seg)
        frame_of_reference = str(seg.get("FrameOfReferenceUID") or "")
        if frame_of_reference != volume.frame_of_reference_uid:
            raise UnusableAnnotation(f"{path.name} lies in another frame of reference")
        masks = _masks(path, seg, volume)
        return tuple(_structure(item, masks) for item in seg.SegmentSequence)


def _require_segmentation(seg: Dataset) -> None:
    if not seg.get("SegmentSequence"):
        raise UnreadableDataset("it is no segmentation")


def _masks(path: Path, seg: Dataset, volume: SourceVolume) -> dict[int, NDArray[np.bool_]]:
    """Masks (z, y, x) by segment number."""
    shape = volume.intensities.shape
    masks = {int(item.SegmentNumber): np.zeros(shape, bool) for item in seg.SegmentSequence}
    place = _onto_image(seg, volume) if volume.single_image else _onto_slices(seg, volume)
    groups = seg.PerFrameFunctionalGroupsSequence
    if int(seg.NumberOfFrames) != len(groups):
        raise UnusableAnnotation(
            f"{path.name} has {seg.NumberOfFrames} frames and {len(groups)} descriptions of frames"
        )
    for number, (group, pixels) in enumerate(zip(groups, _frames(seg), strict=True), start=1):
        for segment, inside in _segments_of(seg, group, pixels):
            if segment not in masks:
                raise UnusableAnnotation(f"{path.name} has no segment {segment}")
            try:
                place(group, inside, masks[segment])
            except UnusableAnnotation as fault:
                raise UnusableAnnotation(f"frame {number} of {path.name} {fault}") from fault
    return masks


def _onto_slices(seg: Dataset, volume: SourceVolume) -> _Place:
    """Puts frames where they say that they lie in the patient."""
    slices = SlicesOf(volume)

    def place(group: Dataset, inside: NDArray[np.bool_], onto: NDArray[np.bool_]) -> None:
        slices.place(inside, _to_lps_mm(seg, group), onto)

    return place


def _onto_image(seg: Dataset, volume: SourceVolume) -> _Place:
    """Puts frames on an image that lies nowhere in the patient, such as a radiograph: on that which
    they name as their source, pixel on pixel.
    """
    frame = volume.frames[0]

    def place(group: Dataset, inside: NDArray[np.bool_], onto: NDArray[np.bool_]) -> None:
        derivation = _first(seg, group, "DerivationImageSequence")
        for source in derivation.get("SourceImageSequence") or ():
            numbers_of_frames = source.get("ReferencedFrameNumber")
            if source.get("ReferencedSOPInstanceUID") == frame.sop_instance_uid and (
                numbers_of_frames is None or numbers_of_frames == frame.frame_number
            ):
                break
        else:
            raise UnusableAnnotation("was drawn on another image")
        if inside.shape != onto.shape[1:]:
            raise UnusableAnnotation("is of another size than its image")
        onto[0] |= inside

    return place


def _segments_of(
    seg: Dataset, group: Dataset, pixels: NDArray[Any]
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The segments that a frame shows, with their pixels."""
    kind = str(seg.SegmentationType)
    if kind == _LABEL_MAP:
        background = int(seg.get("PixelPaddingValue") or 0)
        for value in np.unique(pixels):
            if value != background:
                yield int(value), pixels == value
        return
    item = _first(seg, group, "SegmentIdentificationSequence")
    inside = pixels >= seg.MaximumFractionalValue / 2 if kind == _FRACTIONAL else pixels > 0
    yield int(item.ReferencedSegmentNumber), inside


def _frames(seg: Dataset) -> Iterator[NDArray[Any]]:
    """The frames (rows, columns) in their order."""
    rows, columns, count = int(seg.Rows), int(seg.Columns), int(seg.NumberOfFrames)
    if int(seg.BitsAllocated) != 1 or seg.file_meta.TransferSyntaxUID.is_encapsulated:
        plugin = plugin_of(seg.file_meta.TransferSyntaxUID)
        yield from iter_pixels(seg, decoding_plugin=plugin)
        return
    size = rows * columns
    packed = np.frombuffer(seg.PixelData, np.uint8)
    if len(packed) < math.ceil(size * count / 8):
        raise UnusableAnnotation("the pixel data of the segmentation ends too early")
    for index in range(count):
        # least significant bit first, frames without padding between them (PS3.5 8.1.1)
        start, stop = index * size, (index + 1) * size
        bits = np.unpackbits(packed[start // 8 : -(-stop // 8)], bitorder="little")
        yield bits[start % 8 : start % 8 + size].reshape(rows, columns)


def _to_lps_mm(seg: Dataset, group: Dataset) -> NDArray[np.float64]:
    """(3, 3) from (1, row, column) of a frame to LPS mm (PS3.3 equation C.7.6.2.1-1)."""
    position = _numbers(_first(seg, group, "PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = _first(seg, group, "PlaneOrientationSequence")
    cosines = _numbers(orientation, "ImageOrientationPatient", 6)
    measures = _first(seg, group, "PixelMeasuresSequence")
    between_rows, between_columns = _numbers(measures, "PixelSpacing", 2)
    return np.stack(
        [
            position,
            cosines[3:] * between_rows / np.linalg.norm(cosines[3:]),
            cosines[:3] * between_columns / np.linalg.norm(cosines[:3]),
        ],
        axis=1,
    )


def _first(seg: Dataset, group: Dataset, keyword: str) -> Dataset:
    """The first item of a functional group, the frame's own before the shared one."""
    shared = (seg.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    items: Sequence[Dataset] = group.get(keyword) or shared.get(keyword) or ()
    if not items:
        raise UnusableAnnotation(f"a frame of the segmentation has no {keyword}")
    return items[0]


def _numbers(item: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    stated = numbers(decimal_strings(item, keyword), count)
    if stated is None:
        raise UnusableAnnotation(f"a frame of the segmentation has no usable {keyword}")
    return stated


def _structure(item: Dataset, masks: dict[int, NDArray[np.bool_]]) -> AnnotatedStructure:
    kind = (item.get("SegmentedPropertyTypeCodeSequence") or [None])[0]
    sides = kind.get("SegmentedPropertyTypeModifierCodeSequence") if kind is not None else None
    return AnnotatedStructure(
        label=str(item.get("SegmentLabel") or "").strip(),
        voxels=masks[int(item.SegmentNumber)],
        type=_code(kind),
        laterality=_code(sides[0]) if sides else None,
        automatic=item.get("SegmentAlgorithmType") == "AUTOMATIC",
    )


def _code(item: Dataset | None) -> Code | None:
    if item is None or not item.get("CodeValue"):
        return None
    scheme, meaning = item.get("CodingSchemeDesignator"), item.get("CodeMeaning")
    return Code(str(item.CodeValue), str(scheme or ""), str(meaning or ""))
