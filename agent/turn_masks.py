"""The masks that a turn drew, small enough to keep for ever: the bits of each mask's bounding box.

A digest names them. Record and trace hold the digest, the bits lie in a file beside them; so a
turn that was read back knows which masks are its own before it has them.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16
_HEADER = struct.Struct("<7i")  # slice, rows, columns, top, left, height, width of the box


@dataclass(frozen=True)
class TurnMasks:
    """One turn's masks: `digest` (hex of BLAKE2b over slices, sizes and bits) tells them apart,
    `packed` holds them, b"" where only the digest was read.
    """

    digest: str
    packed: bytes = field(default=b"", compare=False, repr=False)

    @classmethod
    def of(cls, masks: Mapping[int, NDArray[np.bool_]]) -> TurnMasks:
        """Masks (rows, columns) bool by slice, zero-based on the working grid; empty ones too."""
        bits = b"".join(_bits(slice_index, masks[slice_index]) for slice_index in sorted(masks))
        return cls(_digest(bits), zlib.compress(bits, 9))

    @property
    def here(self) -> bool:
        """Whether the masks themselves are known, not only their digest."""
        return bool(self.packed)

    def unpacked(self) -> dict[int, NDArray[np.bool_]]:
        """The masks (rows, columns) bool by slice; ValueError where `packed` is not what the digest
        names.
        """
        try:
            bits = zlib.decompress(self.packed)
        except zlib.error as error:
            raise ValueError("the masks of this turn cannot be unpacked") from error
        if _digest(bits) != self.digest:
            raise ValueError("the masks of this turn are not those it drew")
        masks, start = {}, 0
        while start < len(bits):
            slice_index, rows, columns, top, left, height, width = _HEADER.unpack_from(bits, start)
            start += _HEADER.size
            end = start + (height * width + 7) // 8
            flat = np.unpackbits(np.frombuffer(bits[start:end], np.uint8), count=height * width)
            mask = np.zeros((rows, columns), dtype=np.bool_)
            mask[top : top + height, left : left + width] = flat.reshape(height, width)
            masks[slice_index], start = mask, end
        return masks


def _bits(slice_index: int, mask: NDArray[np.bool_]) -> bytes:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if rows.size else (0, 0)
    left, right = (int(columns[0]), int(columns[-1]) + 1) if columns.size else (0, 0)
    header = _HEADER.pack(slice_index, *mask.shape, top, left, bottom - top, right - left)
    return header + np.packbits(mask[top:bottom, left:right]).tobytes()


def _digest(bits: bytes) -> str:
    return hashlib.blake2b(bits, digest_size=DIGEST_BYTES).hexdigest()
