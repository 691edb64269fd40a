"""The header of a compressed frame: its size, its sign, and where it ends.

Decoders believe the codestream's header, not the data set, and allocate what it promises: it is
read here before a decoder is called. Bytes behind the end marker (encoders and archives pad) are
cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from dicom_node.errors import UndecodablePixels

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA  # ITU-T T.81 table B.1
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment: TEM, RSTn, SOI
# SOFn; not DHT, JPG and DAC, which lie between them. 0xF7 is that of JPEG-LS (ITU-T T.87 C.1.1)
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
# The next marker in entropy-coded data: 0xFF is followed by a stuffed zero byte in JPEG, by a
# stuffed zero bit in JPEG-LS
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")

# ITU-T T.800 A.2: SOC and SIZ begin a codestream, SOT a tile-part with its length, EOC ends it
_SOC_SIZ, _SOT, _SOD, _EOC = b"\xff\x4f\xff\x51", 0x90, b"\xff\x93", b"\xff\xd9"

#: What a frame of JPEG, JPEG-LS or JPEG 2000 begins with, and none of its later fragments.
BEGINNINGS = (b"\xff\xd8\xff", _SOC_SIZ)


@dataclass(frozen=True)
class Codestream:
    """`rows`, `columns` and `components` of the coded image.

    `signed` is None where the format does not state it. `frame` is the codestream up to its end
    marker; `whole` says whether it has one.
    """

    rows: int
    columns: int
    components: int
    signed: bool | None
    frame: bytes
    whole: bool


def reader_of(transfer_syntax_uid: str) -> Callable[[bytes], Codestream] | None:
    """The function that reads frames of a transfer syntax.

    None for native pixels, RLE and video, which have no such header.
    """
    if transfer_syntax_uid in JPEGTransferSyntaxes:
        return _jpeg
    if transfer_syntax_uid in JPEGLSTransferSyntaxes:
        return _jpeg_ls
    return _jpeg_2000 if transfer_syntax_uid in JPEG2000TransferSyntaxes else None


def _jpeg(frame: bytes) -> Codestream:
    return _walked(frame, _MARKER)


def _jpeg_ls(frame: bytes) -> Codestream:
    return _walked(frame, _LS_MARKER)


def _walked(frame: bytes, marker_in_scan: re.Pattern[bytes]) -> Codestream:
    """Read a codestream from marker to marker (ITU-T T.81 B.1.1)."""
    if frame[:2] != bytes([0xFF, _SOI]):
        raise UndecodablePixels("a compressed frame does not begin with the marker of its format")
    size: tuple[int, int, int] | None = None
    at, end = 2, 0
    while not end and at + 1 < len(frame):
        marker = frame[at + 1]
        if frame[at] != 0xFF:
            break
        if marker == 0xFF:  # any marker may be preceded by these
            at += 1
        elif marker == _EOI:
            end = at + 2
        elif marker in _ALONE:
            at += 2
        else:
            size = size or _size(frame, at) if marker in _SIZES else size
            at += 2 + max(int.from_bytes(frame[at + 2 : at + 4]), 2)
            if marker == _SOS:
                next_marker = marker_in_scan.search(frame, at)
                at = next_marker.start() if next_marker else len(frame)
    if size is None:
        raise UndecodablePixels("a compressed frame breaks off before its size")
    rows, columns, components = size
    return Codestream(
        rows, columns, components, None, frame[:end] if end else frame, whole=bool(end)
    )


def _size(frame: bytes, at: int) -> tuple[int, int, int] | None:
    """Rows, columns and components of a frame header at `at` (ITU-T T.81 B.2.2)."""
    header = frame[at + 4 : at + 10]
    if len(header) < 6:
        return None
    return int.from_bytes(header[1:3]), int.from_bytes(header[3:5]), header[5]


def _jpeg_2000(frame: bytes) -> Codestream:
    """Read the SIZ marker segment at the beginning of a codestream (ITU-T T.800 A.5.1).

    The boxes of a JP2 file, which DICOM does not allow, may come before it.
    """
    begin = 0 if frame.startswith(_SOC_SIZ) else frame.find(_SOC_SIZ)
    size = frame[begin + 6 : begin + 43]
    if begin < 0 or len(size) < 37:
        raise UndecodablePixels("a compressed frame does not begin with the marker of its format")
    right, lower, left, upper = (int.from_bytes(size[at : at + 4]) for at in (2, 6, 10, 14))
    end = _end_of_tiles(frame, begin)
    return Codestream(
        rows=lower - upper,
        columns=right - left,
        components=int.from_bytes(size[34:36]),
        signed=bool(size[36] & 0x80),
        frame=frame[:end] if end else frame,
        whole=bool(end),
    )


def _end_of_tiles(frame: bytes, begin: int) -> int:
    """The position behind EOC, 0 where there is none (ITU-T T.800 A.4.2).

    Each tile-part states its length; the last one may leave it out.
    """
    at = begin + 2
    while at + 12 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4])
        if marker != _SOT:
            if frame[at : at + 2] == _EOC:
                break
            at += 2 + max(length, 2)
            continue
        tile_bytes = int.from_bytes(frame[at + 6 : at + 10])
        if not tile_bytes:
            # no two bytes of packet data are above 0xFF8F (B.10.1)
            data = frame.find(_SOD, at)
            end = frame.find(_EOC, data) if data >= 0 else -1
            return end + 2 if end >= 0 else 0
        at += tile_bytes
    return at + 2 if frame[at : at + 2] == _EOC else 0
