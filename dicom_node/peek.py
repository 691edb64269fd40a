"""The four UIDs an instance is filed under, read from the head of its bytes and nothing more.

The C-STORE handler needs them before it may answer, and a peer may send any bytes at all: the walk is bounded in
elements, depth and (for deflated data sets) inflated bytes, never recurses and knows one error. Encoding: PS3.5 7.1.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.errors import UnreadableDataset

_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES = 0x0008_0016, 0x0008_0018, 0x0020_000D, 0x0020_000E
_WANTED = frozenset({_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES})
_ITEM_DELIMITERS = frozenset({0xFFFE_E00D, 0xFFFE_E0DD})  # PS3.5 7.5.2
_UNDEFINED = 0xFFFF_FFFF
# PS3.5 table 7.1-1: these carry two reserved bytes and a length of four
_LONG_VRS = frozenset(
    {
        b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV",
        b"UC", b"UN", b"UR", b"UT", b"UV",
    }
)  # fmt: skip

_MAX_ELEMENTS = 20_000
_MAX_DEPTH = 64
_INFLATED_STEPS = (1 << 16, 1 << 20, 1 << 24)  # bytes of a deflated data set looked at, at most


@dataclass(frozen=True)
class Encoding:
    """How elements are written: `explicit` VR or implicit, `order` as `struct` spells it ("<" or ">")."""

    explicit: bool
    order: str = "<"


IMPLICIT_LITTLE = Encoding(explicit=False)
EXPLICIT_LITTLE = Encoding(explicit=True)
EXPLICIT_BIG = Encoding(explicit=True, order=">")

_ENCODINGS = {  # PS3.5 A.1-A.5; every other transfer syntax is explicit VR little endian
    "1.2.840.10008.1.2": IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.2": EXPLICIT_BIG,
    "1.2.840.113619.5.2": IMPLICIT_LITTLE,  # GE private: only its pixels are big endian
}
_DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)

# Letters are against PS3.5 9.1, but some de-identifiers write hexadecimal UIDs and such an instance can be kept all the
# same. What matters here: no separator, no leading dot, none of the signs that the inbox puts into names.
_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z.]{0,63}")


@dataclass(frozen=True)
class Head:
    """The UIDs of a data set, without padding; empty where the data set has none."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


def is_uid(text: str) -> bool:
    """Whether `text` can be filed under: 1 to 64 ASCII digits, letters and dots, no dot first."""
    return _UID.fullmatch(text) is not None


def peek(dataset: bytes | memoryview, transfer_syntax_uid: str) -> Head:
    """Read the UIDs from a data set encoded in a transfer syntax.

    A peer that says explicit and means implicit VR, or the other way round, is understood (pydicom reads such files too).
    Raises UnreadableDataset when no encoding gives a study and a series UID.
    """
    declared = _ENCODINGS.get(transfer_syntax_uid, EXPLICIT_LITTLE)
    other = IMPLICIT_LITTLE if declared.explicit else EXPLICIT_LITTLE
    fault: UnreadableDataset | None = None
    for encoding in (declared, other):
        try:
            return _head(dataset, encoding, deflated=transfer_syntax_uid in _DEFLATED)
        except UnreadableDataset as error:
            fault = fault or error
    raise fault or UnreadableDataset("the data set could not be read")


def _head(dataset: bytes | memoryview, encoding: Encoding, *, deflated: bool) -> Head:
    """The UIDs, or UnreadableDataset that says what is missing."""
    found: dict[int, str] = {}
    for part in _inflated(dataset) if deflated else (memoryview(dataset),):
        found = _walk(part, encoding)
        if _SERIES in found:
            break
    for tag, name in ((_STUDY, "Study Instance UID"), (_SERIES, "Series Instance UID")):
        if not is_uid(found.get(tag, "")):
            raise UnreadableDataset(f"the data set has no usable {name}")
    return Head(
        sop_class_uid=found.get(_SOP_CLASS, ""),
        sop_instance_uid=found.get(_SOP_INSTANCE, ""),
        study_instance_uid=found[_STUDY],
        series_instance_uid=found[_SERIES],
    )


def _inflated(dataset: bytes | memoryview) -> Iterator[memoryview]:
    """Ever longer heads of a deflated data set (PS3.5 A.5: raw deflate, no zlib header)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    head, rest = b"", bytes(dataset)
    for limit in _INFLATED_STEPS:
        try:
            head += inflater.decompress(rest, limit - len(head))
        except zlib.error as error:
            raise UnreadableDataset("the deflated data set could not be inflated") from error
        rest = inflater.unconsumed_tail
        yield memoryview(head)
        if len(head) < limit:
            return


def _walk(data: memoryview, encoding: Encoding) -> dict[int, str]:
    """The wanted elements at the top level, up to (0020,000E); what is cut off or malformed ends the walk.

    Sequences of undefined length are walked flat: whatever has no length opens a level, a delimiter closes it.
    """
    found: dict[int, str] = {}
    levels = [encoding]
    position = 0
    for _ in range(_MAX_ELEMENTS):
        if position + 8 > len(data):
            break
        tag, vr, length, position = _element(data, position, levels[-1])
        if len(levels) > _MAX_DEPTH or (len(levels) == 1 and tag > _SERIES):
            break
        if tag in _ITEM_DELIMITERS:
            levels.pop()
        elif length == _UNDEFINED:
            # PS3.5 6.2.2 note 2: UN of undefined length holds implicit VR little endian
            levels.append(IMPLICIT_LITTLE if vr == b"UN" else levels[-1])
        else:
            if len(levels) == 1 and tag in _WANTED:
                found[tag] = _uid(data[position : position + length])
            position += length
    return found


def _element(data: memoryview, position: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    """(tag, VR or empty, value length, position of the value) of the element at `position`; 8 bytes are there."""
    group, element = struct.unpack_from(encoding.order + "HH", data, position)
    tag, vr = group << 16 | element, bytes(data[position + 4 : position + 6])
    # items have no VR; a VR that is no two capitals is an implicit element gone astray, as pydicom sees it too
    if not encoding.explicit or group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
        (length,) = struct.unpack_from(encoding.order + "L", data, position + 4)
        return tag, b"", length, position + 8
    if vr not in _LONG_VRS:
        (length,) = struct.unpack_from(encoding.order + "H", data, position + 6)
        return tag, vr, length, position + 8
    if position + 12 > len(data):
        return tag, vr, 0, len(data)
    (length,) = struct.unpack_from(encoding.order + "L", data, position + 8)
    return tag, vr, length, position + 12


def _uid(value: memoryview) -> str:
    """A UID's text without its padding; anything that is none comes out as a text that `is_uid` refuses."""
    return bytes(value[:66]).rstrip(b"\0 ").decode("ascii", "replace")
