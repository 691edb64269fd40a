"""The pixels of a BINARY SEG as they are read into a file, never all of them at once."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.voxels import Voxels

_PIECE_FRAMES = 8  # end on a whole byte together, whatever their size


class PackedFrames(io.BufferedIOBase):
    """Frames as bits without gaps, first pixel lowest, of even length (PS3.5 8.1.1, 8.2).

    `frames` are structures and zero-based slices on a grid of `matrix` (rows, columns). Eight
    frames are packed when they are read, so that ten thousand take no memory of their own.
    """

    def __init__(self, matrix: tuple[int, int], frames: Sequence[tuple[Voxels, int]]) -> None:
        super().__init__()
        self._rows, self._columns = matrix
        self._frames = frames
        self._size_bytes = -(-len(frames) * self._rows * self._columns // 8)
        self._at = 0
        self._piece: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The offset in bytes of what is read next."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to an offset in bytes from the begin, the present place or the end; the new place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._even_bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; all that are left without it, none at the end."""
        stop = self._even_bytes
        if size is not None and size >= 0:
            stop = min(stop, self._at + size)
        parts: list[bytes] = []
        while self._at < stop:
            number, begin = divmod(self._at, self._rows * self._columns)
            if number != self._piece[0]:
                self._piece = (number, self._packed(number))
            part = self._piece[1][begin : begin + stop - self._at]
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    @property
    def _even_bytes(self) -> int:
        return self._size_bytes + self._size_bytes % 2

    def _packed(self, number: int) -> bytes:
        """A piece: eight frames, or the last ones with their padding."""
        frame_bits = self._rows * self._columns
        begin = number * frame_bits  # of a piece in bytes, as eight frames have eight bits a pixel
        data = np.zeros(min(frame_bits, self._even_bytes - begin), dtype=np.uint8)
        first = number * _PIECE_FRAMES
        for place, (voxels, z) in enumerate(self._frames[first : first + _PIECE_FRAMES]):
            if z in voxels.slices:
                self._put(data, place * frame_bits, voxels, z)
        return data.tobytes()

    def _put(self, data: NDArray[np.uint8], frame_bit: int, voxels: Voxels, z: int) -> None:
        """The rows of one frame's box; the rest of it is zero. Neighbours may share a byte."""
        _, rows, columns = voxels.place
        begin = frame_bit + rows.start * self._columns
        lead = begin % 8
        bits = np.zeros(lead + (rows.stop - rows.start) * self._columns, dtype=np.bool_)
        bits[lead:].reshape(-1, self._columns)[:, columns] = voxels.box[z - voxels.origin[0]]
        packed = np.packbits(bits, bitorder="little")
        data[begin // 8 : begin // 8 + packed.size] |= packed
