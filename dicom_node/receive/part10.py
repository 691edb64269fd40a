"""Files as PS3.10 has them: preamble, file meta information, then a data set's bytes untouched.

Written by hand rather than with pydicom: the C-STORE handler writes nothing but UIDs and names it
has already checked, and must never be stopped by a value that pydicom would rather not write. Our
files say the SHA-256 of their data set in the private part of the file meta (PS3.10 7.1), so that a
resend is recognised without reading the old file again.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import UnreadableDataset
from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_PREAMBLE = bytes(128) + b"DICM"
_PREAMBLE_BYTES = len(_PREAMBLE)
MOST_META_BYTES = 1 << 16
_GROUP_LENGTH, _TRANSFER_SYNTAX, _PRIVATE_INFORMATION = 0x0000, 0x0010, 0x0102
_LONG_VRS = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT"})


@dataclass(frozen=True)
class FileMeta:
    """What we write into and read from the file meta information.

    `sha256` is that of the data set's bytes, in hexadecimal digits.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    sha256: str
    calling_ae_title: str = ""
    called_ae_title: str = ""


def encode_head(meta: FileMeta) -> bytes:
    """Preamble and file meta information (PS3.10 table 7.1-1); the data set follows."""
    elements = [
        _short(0x0002, b"UI", meta.sop_class_uid.encode("ascii")),
        _short(0x0003, b"UI", meta.sop_instance_uid.encode("ascii")),
        _short(0x0010, b"UI", meta.transfer_syntax_uid.encode("ascii")),
        _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
        _short(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    ]
    # Source, Sending and Receiving Application Entity Title
    titles = ((0x0016, meta.calling_ae_title), (0x0017, meta.calling_ae_title))
    for element, title in (*titles, (0x0018, meta.called_ae_title)):
        if title:
            elements.append(_short(element, b"AE", title.encode("ascii", "replace")[:16]))
    elements.append(_short(0x0100, b"UI", IMPLEMENTATION_CLASS_UID.encode("ascii")))
    body = (
        _long(0x0001, b"\0\1")
        + b"".join(elements)
        + _long(_PRIVATE_INFORMATION, bytes.fromhex(meta.sha256))
    )
    return _PREAMBLE + _short(0x0000, b"UL", struct.pack("<L", len(body))) + body


def read_meta(path: Path) -> FileMeta:
    """The file meta information of a file that we wrote, reading no more than that.

    A file that someone else put there has no SHA-256: it is then computed. Raises UnreadableDataset
    for anything that is no such file, OSError when it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(MOST_META_BYTES)
        if not head.startswith(b"DICM", 128):
            raise UnreadableDataset("the file has no DICOM preamble")
        values, end = meta_elements(head)
        sha256 = values.pop(_PRIVATE_INFORMATION, b"").hex()
        if not sha256:
            file.seek(end)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileMeta(
        sop_class_uid=meta_text(values, 0x0002),
        sop_instance_uid=meta_text(values, 0x0003),
        transfer_syntax_uid=meta_text(values, _TRANSFER_SYNTAX),
        sha256=sha256,
        calling_ae_title=meta_text(values, 0x0017),
        called_ae_title=meta_text(values, 0x0018),
    )


def is_whole(path: Path) -> bool:
    """Whether the data set in a file of ours has the SHA-256 stated in its file meta.

    OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(MOST_META_BYTES)
        values, end = meta_elements(head)
        file.seek(end)
        digest = hashlib.file_digest(file, "sha256").digest()
    return head.startswith(b"DICM", 128) and values.get(_PRIVATE_INFORMATION) == digest


def has_preamble(path: Path) -> bool:
    """Whether a file says of itself that it is DICOM. OSError when it cannot be read."""
    with path.open("rb") as file:
        return file.read(len(_PREAMBLE)).endswith(b"DICM")


def _short(element: int, vr: bytes, value: bytes) -> bytes:
    """An element of group 0002 with a two-byte length, padded to even length (PS3.5 6.2)."""
    value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def _long(element: int, value: bytes) -> bytes:
    """An OB element of group 0002, of even length."""
    return struct.pack("<HH2sHL", 0x0002, element, b"OB", 0, len(value)) + value


def meta_elements(head: bytes) -> tuple[dict[int, bytes], int]:
    """Values of group 0002 by element number, and the offset at which the data set begins.

    The group ends where its length says so (PS3.10 table 7.1-1): elements of group 0002 behind it
    are the data set's and mean nothing. Where the group length is missing, or so wrong that no
    transfer syntax comes before it, it ends with the last element of the group. No preamble and no
    such group: no values, and 0.
    """
    position = _PREAMBLE_BYTES if head.startswith(b"DICM", 128) else 0
    values: dict[int, bytes] = {}
    end = len(head)
    while position + 12 <= len(head):
        group, element, vr, length = struct.unpack_from("<HH2sH", head, position)
        if group != 0x0002 or (position >= end and _TRANSFER_SYNTAX in values):
            break
        position += 8
        if vr in _LONG_VRS:
            (length,) = struct.unpack_from("<L", head, position)
            position += 4
        values.setdefault(element, head[position : position + length])
        position += length
        if element == _GROUP_LENGTH and length == 4:
            end = position + int.from_bytes(values[element], "little")
    return values, position


def meta_text(values: dict[int, bytes], element: int) -> str:
    """A text of the file meta information without its padding, empty where there is none."""
    return values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")
