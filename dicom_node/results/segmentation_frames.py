"""The frames of our own SEG as its file has them, for the check of what was written.

Its bytes are read with pydicom and the functional groups alone, without highdicom. A frame's place
comes from its Plane Position, Plane Orientation and Pixel Measures (PS3.3 C.7.6.16.2); its bits are
read and unpacked when it is looked at, so that a file of gigabytes takes no memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import ResultMismatch
from dicom_node.values import SourceVolume

# of a pixel: orientation and spacing are copied, but a series' headers may differ in the last digit
CORNER_SHARE = 0.05
AGREE_MM = 0.01  # positions and centroids; a DS of 16 characters is a thousand times finer
_PLACE_GROUPS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
_PIXEL_DATA = b"\xe0\x7f\x10\x00"  # (7FE0,0010), little endian
_Decoded = TypeVar("_Decoded")


@dataclass(frozen=True, eq=False)
class SegmentFrame:
    """A frame by its own functional groups.

    `segment` and `z` are zero-based, `to_lps_mm` (3, 3) maps (1, row, column) to LPS mm, `pixels`
    is (rows, columns) bool, `source` the item of the image that it was derived from, `indices` the
    frame's Dimension Index Values, one-based.
    """

    number: int
    segment: int
    z: int
    to_lps_mm: NDArray[np.float64]
    pixels: NDArray[np.bool_]
    source: Dataset
    indices: Sequence[int]


class BinaryFrames:
    """The frames of a SEG by their own groups and bits, one at a time, without their places.

    `groups` are their items, `matrix` is (rows, columns). `file` stands at the Pixel Data, behind
    what `seg` was read from. What the groups of many frames say in the same bytes is decoded once.
    """

    def __init__(self, seg: Dataset, file: BinaryIO) -> None:
        self.matrix = (int(seg.Rows), int(seg.Columns))
        self.groups: Sequence[Dataset] = seg.PerFrameFunctionalGroupsSequence
        self._shared = (seg.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        self._decoded: dict[tuple[object, ...], Any] = {}
        self._file = file
        tag, self._size_bytes = struct.unpack("<4s4xL", file.read(12).ljust(12, b"\0"))
        if tag != _PIXEL_DATA:
            raise ResultMismatch("the segmentation has no pixel data behind its descriptions")
        self._begin = file.tell()

    def segment(self, group: Dataset) -> int:
        """The zero-based segment of a frame."""
        return self.decoded(
            group,
            ["SegmentIdentificationSequence"],
            lambda item: int(item.ReferencedSegmentNumber) - 1,
        )

    def source(self, group: Dataset) -> Dataset:
        """The item that a frame was derived from."""
        return self.decoded(
            group,
            ["DerivationImageSequence"],
            lambda item: self._first(item.get("SourceImageSequence"), "SourceImageSequence"),
        )

    def indices(self, group: Dataset) -> Sequence[int]:
        """A frame's Dimension Index Values, one-based."""
        values = self._group(group, "FrameContentSequence").DimensionIndexValues
        return [values] if isinstance(values, int) else list(values)

    def decoded(
        self, group: Dataset, keywords: Sequence[str], decode: Callable[..., _Decoded]
    ) -> _Decoded:
        """`decode` of the first items of a frame's groups called `keywords`."""
        key = (*keywords, *(_bytes_of(group, keyword) for keyword in keywords))
        if key not in self._decoded:
            self._decoded[key] = decode(*(self._group(group, keyword) for keyword in keywords))
        decoded: _Decoded = self._decoded[key]
        return decoded

    def _group(self, item: Dataset, keyword: str) -> Dataset:
        """The first item of a functional group, the frame's own before the shared one."""
        return self._first(item.get(keyword) or self._shared.get(keyword), keyword)

    def _first(self, items: Sequence[Dataset] | None, keyword: str) -> Dataset:
        if not items:
            raise ResultMismatch(f"the segmentation has a frame without {keyword}")
        return items[0]

    def unpacked(self, index: int) -> NDArray[np.bool_]:
        """A frame's bits: least significant first, frames without padding (PS3.5 8.1.1)."""
        size = self.matrix[0] * self.matrix[1]
        start, stop = index * size, (index + 1) * size
        begin, end = start // 8, min(-(-stop // 8), self._size_bytes)
        self._file.seek(self._begin + begin)
        packed = np.frombuffer(self._file.read(max(end - begin, 0)), np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + size]
        if bits.size != size:
            raise ResultMismatch(f"the pixel data ends within frame {index + 1}")
        return bits.reshape(self.matrix).view(np.bool_)


class FramesOnSlices(BinaryFrames):
    """The frames of a SEG on slices, placed in the patient.

    `origins` (z, 3) are the first pixels of the source's slices, LPS mm. Iterating raises
    ResultMismatch for a frame that lies on none, or is turned or scaled.
    """

    def __init__(
        self, seg: Dataset, file: BinaryIO, volume: SourceVolume, origins: NDArray[np.float64]
    ) -> None:
        super().__init__(seg, file)
        self._volume, self._origins = volume, origins

    def __iter__(self) -> Iterator[SegmentFrame]:
        for index, group in enumerate(self.groups):
            place, z = self.decoded(group, _PLACE_GROUPS, partial(self._placed, index))
            yield SegmentFrame(
                number=index + 1,
                segment=self.segment(group),
                z=z,
                to_lps_mm=place,
                pixels=self.unpacked(index),
                source=self.source(group),
                indices=self.indices(group),
            )

    def _placed(
        self, index: int, position: Dataset, orientation: Dataset, measures: Dataset
    ) -> tuple[NDArray[np.float64], int]:
        """(3, 3) from (1, row, column) to LPS mm, compared with the affine's axes, and the slice.

        PS3.3 equation C.7.6.2.1-1.
        """
        cosines = np.array(orientation.ImageOrientationPatient, dtype=np.float64)
        between_rows, between_columns = map(float, measures.PixelSpacing)
        place = np.stack(
            [
                np.array(position.ImagePositionPatient, dtype=np.float64),
                cosines[3:] * between_rows / np.linalg.norm(cosines[3:]),
                cosines[:3] * between_columns / np.linalg.norm(cosines[:3]),
            ],
            axis=1,
        )
        affine = self._volume.affine_zyx_to_lps
        far = np.array([self.matrix[0] - 1, self.matrix[1] - 1], dtype=np.float64)
        apart = np.abs((place[:, 1:] - affine[:3, 1:3]) * far).max()
        if apart > CORNER_SHARE * min(between_rows, between_columns):
            raise ResultMismatch(
                f"frame {index + 1} is turned or scaled: its corner lies {apart:.3f} mm off"
            )
        return place, self._slice_at(place[:, 0], index)

    def _slice_at(self, origin: NDArray[np.float64], index: int) -> int:
        """The zero-based source slice whose first pixel is nearest to this frame's."""
        apart = np.linalg.norm(self._origins - origin, axis=1)
        z = int(apart.argmin())
        if apart[z] > AGREE_MM:
            raise ResultMismatch(
                f"frame {index + 1} lies {apart[z]:.3f} mm from the nearest slice of the source"
            )
        return z


class FramesOnSingleImage(BinaryFrames):
    """The frames of a SEG on a single image: all lie at its one slice, and none has a place."""

    def __iter__(self) -> Iterator[SegmentFrame]:
        for index, group in enumerate(self.groups):
            yield SegmentFrame(
                number=index + 1,
                segment=self.segment(group),
                z=0,
                to_lps_mm=np.zeros((3, 3)),
                pixels=self.unpacked(index),
                source=self.source(group),
                indices=self.indices(group),
            )


def _bytes_of(group: Dataset, keyword: str) -> object:
    """What tells a functional group of a frame from others before it is decoded; None for none."""
    if keyword not in group:
        return None
    element = group.get_item(keyword)
    return element.value if isinstance(element.value, bytes) else id(element)
