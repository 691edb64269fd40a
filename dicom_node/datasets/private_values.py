"""Values in private elements that tell images at one position apart.

An element (gggg,10ee) belongs to the creator that (gggg,0010) names (PS3.5 7.8.1); only the first
block is read.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from dicom_node.elements import Element, Elements

_CREATOR = 0x0010
# GE adds thousands of millions to a b-value as a flag that it is one of several
_LARGEST_B_VALUE = 100_000


@dataclass(frozen=True)
class _Private:
    """Element `tag`, whose creator's name is `creator`, stands for `keyword`.

    `vr` holds where the file writes none.
    """

    keyword: str
    creator: bytes
    tag: int
    vr: str

    @property
    def creator_tag(self) -> int:
        return (self.tag & 0xFFFF_0000) | _CREATOR


_PRIVATE = (
    _Private("GEComponent", b"GEMS_PARM_01", 0x0043_102F, "SS"),
    _Private("DiffusionBValue", b"GEMS_PARM_01", 0x0043_1039, "IS"),
    _Private("DiffusionBValue", b"SIEMENS MR HEADER", 0x0019_100C, "IS"),
    _Private("DiffusionBValue", b"Philips Imaging DD 001", 0x2001_1003, "FL"),
)
#: Tags that private_values looks for.
PRIVATE_TAGS = frozenset(tag for private in _PRIVATE for tag in (private.tag, private.creator_tag))


def private_values(elements: Elements) -> dict[str, str]:
    """Private numbers as text, by keyword.

    b-values, and "GEComponent" (0 magnitude, 1 phase, 2 real, 3 imaginary).
    """
    values: dict[str, str] = {}
    for private in _PRIVATE:
        creator, element = elements.first.get(private.creator_tag), elements.first.get(private.tag)
        if creator is None or element is None or creator.value.strip(b" \0") != private.creator:
            continue
        number = _number(element, private.vr)
        if number is not None:
            values[private.keyword] = f"{number % _LARGEST_B_VALUE:g}"
    return values


def _number(element: Element, vr: str) -> float | None:
    """The first number of an element, None where there is none."""
    written_vr = element.vr.decode("ascii", "replace")
    kind = vr if written_vr in {"", "UN"} else written_vr
    form = {"SS": "h", "US": "H", "FL": "f", "FD": "d", "SL": "l", "UL": "L"}.get(kind)
    try:
        if form is not None:
            (number,) = struct.unpack_from(f"{element.encoding.order}{form}", element.value)
        else:
            number = float(element.value[:64].split(b"\\")[0].decode("ascii").strip(" \0"))
    except (struct.error, ValueError):
        return None
    return float(number) if math.isfinite(number) else None
