"""Values of a walked data set as text and numbers, bounded.

What is longer than a value can be, or is no number, counts as no value.

VRs: PS3.5 table 6.2-1. Where none or an unknown one is written, that of the data dictionary holds
(PS3.6).
"""

from __future__ import annotations

import struct
from functools import cache

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import TEXT_VR_DELIMS

from dicom_node.datasets.decimals import decimal_of
from dicom_node.elements import Element, Elements

# characters that are read of a value: the longest that people type has 64, PS3.5 table 6.2-1
LONGEST_TEXT = 1_024
MOST_NUMBERS = 64
LARGEST_INTEGER = 2**31 - 1  # IS has 32 signed bits, PS3.5 table 6.2-1

_CHARACTER_SET = 0x0008_0005
_ESCAPE = b"\x1b"  # begins another set, PS3.5 6.1.2.5
_ENCODED = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_ASCII = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}


class NoValue(Exception):
    """An attribute is there and cannot be used."""


@cache
def tag_of(keyword: str) -> int:
    """The tag of a keyword of PS3.6."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no keyword of PS3.6")
    return int(tag)


class ElementValues:
    """Texts and numbers of a data set's top level, or of an item.

    Text is in `character_sets`: those of an item are its parent's unless it has its own.
    """

    def __init__(self, elements: Elements, character_sets: list[str] | None = None) -> None:
        self._elements = elements
        self.character_sets = self._character_sets() or character_sets or ["iso8859"]

    def element(self, keyword: str) -> Element | None:
        """The element itself; NoValue where it comes twice and differs."""
        tag = tag_of(keyword)
        if tag in self._elements.ambiguous:
            raise NoValue(keyword)
        return self._elements.first.get(tag)

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Every value as text, at most LONGEST_TEXT characters in all; none where there is none.

        NoValue where the VR is no text and no number.
        """
        element = self.element(keyword)
        if element is None or not element.value:
            return ()
        vr = _vr(element, keyword)
        if vr in _BINARY:
            return tuple(str(number) for number in _binary(element, vr, keyword))
        if vr not in _ENCODED and vr not in _ASCII:
            raise NoValue(keyword)
        sets = self.character_sets if vr in _ENCODED else ["iso8859"]
        # a character has four bytes at most, apart from escape sequences
        text = _decoded(element.value[: 8 * LONGEST_TEXT], sets)[:LONGEST_TEXT]
        return tuple(part.strip(" \0") for part in text.split("\\"))

    def numbers(self, keyword: str, count: int | None = None) -> tuple[float, ...]:
        """Finite numbers, none where there is none.

        NoValue for another count than `count`, and for a value that is no number.
        """
        element = self.element(keyword)
        if element is not None and element.length > LONGEST_TEXT:
            raise NoValue(keyword)  # a number that was cut is another number
        numbers = tuple(_number(text, keyword) for text in self.texts(keyword) if text)
        if len(numbers) > MOST_NUMBERS or (numbers and count not in {None, len(numbers)}):
            raise NoValue(keyword)
        return numbers

    def integer(self, keyword: str) -> int | None:
        """The first number, which must be whole and have 32 bits; None where there is none.

        NoValue for any other number.
        """
        number = next(iter(self.numbers(keyword)), None)
        if number is None:
            return None
        if number != int(number) or not -LARGEST_INTEGER - 1 <= number <= LARGEST_INTEGER:
            raise NoValue(keyword)
        return int(number)

    def _character_sets(self) -> list[str]:
        """The sets of (0008,0005); none, so that the default holds, if it is missing or unknown."""
        element = self._elements.first.get(_CHARACTER_SET)
        if element is None or not element.value:
            return []
        stated = element.value[:LONGEST_TEXT].decode("ascii", "replace").split("\\")
        try:
            return list(convert_encodings([text.strip(" \0") for text in stated]))
        except (LookupError, ValueError):
            return []


def _decoded(value: bytes, character_sets: list[str]) -> str:
    """Text in DICOM character sets; what is none in them becomes question marks."""
    if value.isascii() and _ESCAPE not in value:
        return value.decode("ascii")
    try:
        return decode_bytes(value, character_sets, TEXT_VR_DELIMS)
    except (LookupError, UnicodeError, ValueError):
        return value.decode("ascii", "replace")


def _vr(element: Element, keyword: str) -> str:
    written_vr = element.vr.decode("ascii", "replace")
    is_readable = written_vr in _BINARY or written_vr in _ENCODED or written_vr in _ASCII
    if is_readable or written_vr.startswith("O") or written_vr == "SQ":
        return written_vr
    return _dictionary_vr(keyword)


@cache
def _dictionary_vr(keyword: str) -> str:
    return dictionary_VR(tag_of(keyword))


def _binary(element: Element, vr: str, keyword: str) -> tuple[float, ...]:
    """Numbers of a binary VR."""
    order, width = element.encoding.order, struct.calcsize("=" + _BINARY[vr])
    count, rest = divmod(len(element.value), width)
    if rest or count > MOST_NUMBERS or element.length != len(element.value):
        raise NoValue(keyword)
    return tuple(struct.unpack(f"{order}{count}{_BINARY[vr]}", element.value))


def _number(text: str, keyword: str) -> float:
    number = decimal_of(text)
    if number is None:
        raise NoValue(keyword)
    return number
