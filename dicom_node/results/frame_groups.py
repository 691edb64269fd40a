"""The functional groups of many frames, made of those of a few.

A SEG of K segments on N slices has up to K x N frames, but what their groups say of a slice is the
same for every segment there, and the other way round. A library that makes each of ten thousand
items anew, and encodes it, takes most of the time that a SEG takes; here every part is encoded
once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag

_PER_FRAME = Tag("PerFrameFunctionalGroupsSequence")
_FRAME_CONTENT = Tag("FrameContentSequence")
_SEGMENT = Tag("SegmentIdentificationSequence")
_SEGMENT_NUMBER = Tag("ReferencedSegmentNumber")
_ITEM = struct.Struct("<HHI")
_ITEM_TAG = (0xFFFE, 0xE000)  # PS3.5 7.5.1


@dataclass(frozen=True)
class _Example:
    """What a frame of a few says: encoded groups by tag, and its Dimension Index Values."""

    groups: dict[int, bytes]
    indices: tuple[int, ...]


def covering(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A few of the frames `present` (slice, segment) in which all its slices and segments occur.

    Where there is one slice or one segment they are all of them.
    """
    cover = np.zeros_like(present)
    slices, segments = np.flatnonzero(present.any(axis=1)), np.flatnonzero(present.any(axis=0))
    cover[slices, present[slices].argmax(axis=1)] = True
    cover[present[:, segments].argmax(axis=0), segments] = True
    return cover


def multiply(
    seg: Dataset, present: NDArray[np.bool_], places: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Replace the frames of `covering(present)` in `seg` by all of `present`, at the slices and
    segments (both zero-based) that are returned; `places` has those of the few.

    A frame takes the segment of any frame of its segment, all else of any on its slice, and their
    Dimension Index Values, by which frames are sorted (PS3.3 C.7.6.16, C.7.6.17). They are encoded
    in Explicit VR Little Endian, in which `seg` has to be marked as read (`set_original_encoding`).
    """
    of_slice: dict[int, _Example] = {}
    of_segment: dict[int, _Example] = {}
    for (z, segment), item in zip(places, seg.PerFrameFunctionalGroupsSequence, strict=True):
        example = _example(item)
        of_slice.setdefault(z, example)
        of_segment.setdefault(segment, example)
    by_segment = [
        item.DimensionIndexPointer == _SEGMENT_NUMBER for item in seg.DimensionIndexSequence
    ]
    frames = sorted(
        (_indices(of_slice[z], of_segment[segment], by_segment), z, segment)
        for z, segment in np.argwhere(present).tolist()
    )
    data = bytearray()
    for indices, z, segment in frames:
        data += _item(of_slice[z], of_segment[segment], indices)
    seg[_PER_FRAME] = RawDataElement(
        _PER_FRAME, "SQ", len(data), bytes(data), 0, is_implicit_VR=False, is_little_endian=True
    )
    seg.NumberOfFrames = len(frames)
    return [(z, segment) for _, z, segment in frames]


def _example(item: Dataset) -> _Example:
    values = item.FrameContentSequence[0].DimensionIndexValues
    indices = (values,) if isinstance(values, int) else tuple(values)
    return _Example({element.tag: _encoded(element) for element in item}, indices)


def _encoded(element: DataElement) -> bytes:
    """An element in Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_data_element(buffer, element)
    return bytes(buffer.getvalue())


def _indices(
    on_slice: _Example, of_segment: _Example, by_segment: Sequence[bool]
) -> tuple[int, ...]:
    """Dimension Index Values of a frame, one-based."""
    return tuple(
        theirs if own else others
        for own, theirs, others in zip(
            by_segment, of_segment.indices, on_slice.indices, strict=True
        )
    )


def _item(on_slice: _Example, of_segment: _Example, indices: tuple[int, ...]) -> bytes:
    """A frame's item of the sequence, elements in the order of their tags."""
    groups = dict(on_slice.groups)
    if _SEGMENT in groups:
        groups[_SEGMENT] = of_segment.groups[_SEGMENT]
    # the values, UL, are the last bytes of a frame's content
    values = struct.pack(f"<{len(indices)}I", *indices)
    groups[_FRAME_CONTENT] = groups[_FRAME_CONTENT][: -len(values)] + values
    content = b"".join(groups[tag] for tag in sorted(groups))
    return _ITEM.pack(*_ITEM_TAG, len(content)) + content
