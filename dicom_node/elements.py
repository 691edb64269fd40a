"""The one walk over a data set's bytes: which elements are at its top level, and where.

Everything else builds on it.

A peer may send any bytes at all: the walk is flat (it never recurses), bounded in elements, trusts
no length beyond the bytes that are there, and reads the top level to its end, because an element
that occurs twice may do so anywhere. ElementEncoding: PS3.5 7.1 and 7.5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Container, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import count
from typing import Any, NamedTuple

from dicom_node.errors import FaultyDataset
from dicom_node.sources import Inflated, InMemory, Source

# as many as a multi-frame image of 50,000 frames has; they take some seconds
MOST_ELEMENTS = 4_000_000
# elements without a VR among those with one, or of unknown VR: they take long to read
MOST_ODD_ELEMENTS = 100_000
DEEPEST_NESTING = 1 << 16
LONGEST_VALUE_BYTES = 1 << 16  # of a value: a longer one is no text and no number
LONGEST_SEQUENCE_BYTES = 1 << 26

UNDEFINED = 0xFFFF_FFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD  # PS3.5 7.5
PIXEL_TAGS = frozenset({0x7FE0_0008, 0x7FE0_0009, 0x7FE0_0010})  # float, double float, integer
_PIXEL_DATA = 0x7FE0_0010

# PS3.5 table 7.1-1: these have two reserved bytes and a length of four, as will every later VR
_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS = frozenset(
    {
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO",
        b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
    }
)  # fmt: skip
_ALL_VRS = _LONG_VRS | _SHORT_VRS
_ITEM_GROUPS = frozenset({b"\xfe\xff", b"\xff\xfe"})


@dataclass(frozen=True)
class ElementEncoding:
    """How elements are written: `explicit` VR or implicit, `order` as in `struct` ("<" or ">").

    UN of undefined length holds implicit VR little endian (PS3.5 6.2.2 note 2); some write it
    `explicit_in_unknown`.
    """

    explicit: bool
    order: str = "<"
    explicit_in_unknown: bool = False


IMPLICIT_LITTLE = ElementEncoding(explicit=False)
EXPLICIT_LITTLE = ElementEncoding(explicit=True)
EXPLICIT_BIG = ElementEncoding(explicit=True, order=">")

_ENCODINGS = {  # PS3.5 A.1-A.5; every other transfer syntax is explicit VR little endian
    "1.2.840.10008.1.2": IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.2": EXPLICIT_BIG,
    "1.2.840.113619.5.2": IMPLICIT_LITTLE,  # GE private: only its pixels are big endian
}
_DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)


@dataclass(frozen=True)
class Everything:
    """All elements of a data set, however long, with its `pixels` or without.

    Commands, file meta information and items are no elements of a data set (PS3.5 7.1).
    """

    pixels: bool

    def __contains__(self, tag: object) -> bool:
        if not isinstance(tag, int) or tag >> 16 in (0x0000, 0x0002, 0xFFFE):
            return False
        return self.pixels or tag not in PIXEL_TAGS


class Element(NamedTuple):
    """An element of the top level.

    `vr` is empty where none is written, `length` is as written, `encoding` is that of the content.
    `value` is whole, or cut to the most that a reader of it could use.
    """

    vr: bytes
    value: bytes
    length: int
    encoding: ElementEncoding


@dataclass
class PixelBytes:
    """The extent of pixel data.

    `length_bytes`, and the number of `fragments` (offset table included) if encapsulated.
    """

    length_bytes: int
    fragments: int | None = None


@dataclass
class Elements:
    """The elements of a data set's top level that were asked for, each at its first occurrence.

    `ambiguous` has the tags of those that occur again with another value.
    """

    encoding: ElementEncoding
    first: dict[int, Element] = field(default_factory=dict)
    ambiguous: set[int] = field(default_factory=set)
    pixels: PixelBytes | None = None
    walked: int = 0

    def add(self, tag: int, element: Element) -> None:
        """Add an element; one that differs from the first of its tag makes the tag ambiguous."""
        first = self.first.setdefault(tag, element)
        if first is not element and first.value.rstrip(b"\0 ") != element.value.rstrip(b"\0 "):
            self.ambiguous.add(tag)


def elements_of(
    data: bytes | memoryview,
    transfer_syntax_uid: str,
    tags: Container[int],
    proof: Collection[int],
) -> Elements:
    """The top-level elements `tags` of a data set in a transfer syntax ("": not stated).

    A transfer syntax that states explicit for implicit VR, or the reverse, does no harm: the first
    encoding that gives all of `proof` is taken, else the one that gives most. FaultyDataset for
    more elements or bytes than an image has.
    """
    deflated = transfer_syntax_uid in _DEFLATED
    best: Elements | None = None
    budget = MOST_ELEMENTS
    for encoding in _candidates(data, transfer_syntax_uid, deflated=deflated):
        with closing(_source(data, deflated=deflated)) as source:
            elements = walk(source, encoding, tags, budget)
        budget -= elements.walked
        if best is None or _rank(elements, proof) > _rank(best, proof):
            best = elements
        if all(tag in best.first for tag in proof):
            break
    return best or Elements(EXPLICIT_LITTLE)


def first_item(sequence: Element, tags: Container[int]) -> Elements:
    """The elements `tags` of a sequence's first item, none where it has no item."""
    data, order = sequence.value, sequence.encoding.order
    if len(data) < 8:
        return Elements(sequence.encoding)
    group, number, length = struct.unpack_from(order + "HHL", data)
    if group << 16 | number != _ITEM:
        return Elements(sequence.encoding)
    end = len(data) if length == UNDEFINED else 8 + length
    return walk(InMemory(data[8:end]), sequence.encoding, tags, within_item=True)


def _rank(elements: Elements, proof: Collection[int]) -> tuple[int, int]:
    return sum(tag in elements.first for tag in proof), len(elements.first)


def _candidates(
    data: bytes | memoryview, transfer_syntax_uid: str, *, deflated: bool
) -> Iterator[ElementEncoding]:
    """The encodings to try: that of the first element's looks, the declared one, the others."""
    declared = _ENCODINGS.get(transfer_syntax_uid, EXPLICIT_LITTLE)
    order = [declared, EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG]
    first = _beginning(data, deflated=deflated)
    if len(first) == 8:
        looks_explicit = first[4:6] in _ALL_VRS
        if looks_explicit != declared.explicit:
            order.insert(0, EXPLICIT_LITTLE if looks_explicit else IMPLICIT_LITTLE)
        if (
            looks_explicit and not transfer_syntax_uid and first[0] == 0
        ):  # group 0008 as big endian has it
            order.insert(0, EXPLICIT_BIG)
    yield from dict.fromkeys(order)
    yield replace(declared, explicit_in_unknown=True)


def _beginning(data: bytes | memoryview, *, deflated: bool) -> bytes:
    """The first eight bytes of a data set."""
    with closing(_source(data, deflated=deflated)) as source:
        source.more(0, 8)
        return bytes(source.view[:8])


def _source(data: bytes | memoryview, *, deflated: bool) -> Source:
    return Inflated(data) if deflated else InMemory(data)


class _Open(NamedTuple):
    """A sequence or item of undefined length that is not closed yet.

    `encoding` is the one that holds outside of it.
    """

    encoding: ElementEncoding
    is_item: bool


def walk(
    source: Source,
    encoding: ElementEncoding,
    tags: Container[int],
    most_elements: int = MOST_ELEMENTS,
    *,
    within_item: bool = False,
) -> Elements:
    """The elements `tags` at the top level of `source`.

    What is cut off or malformed ends the walk. Sequences of undefined length are walked flat:
    whatever has no length opens a level, a delimiter closes it. `within_item` ends with the item's
    own delimiter. FaultyDataset beyond `most_elements`.
    """
    elements = Elements(encoding)
    levels: list[_Open] = []
    opened: tuple[_Header, int] | None = (
        None  # a sequence of `tags` without a length, and its begin
    )
    reader_of = _readers()
    read = reader_of(encoding)
    at = tag = 0
    for elements.walked in range(most_elements):
        if at + 12 > len(source.view):
            at = source.more(at, 12)
        if at + 8 > len(source.view):
            _cut_pixels(elements, tag, at - len(source.view))
            return elements
        tag, vr, length, at = read(source.view, at)
        if tag in (_ITEM_END, _SEQUENCE_END):
            if not levels and within_item:
                return elements
            encoding = _closed(levels, encoding, tag)
            read = reader_of(encoding)
            if opened and not levels:
                _add_sequence(elements, source, opened[0], (opened[1], source.base + at - 8))
                opened = source.hold = None
        elif length == UNDEFINED:
            if not levels and tag == _PIXEL_DATA:
                at = _add_fragments(elements, source, at, _Header(tag, vr, length, encoding), tags)
                continue
            if len(levels) == DEEPEST_NESTING:
                return elements
            levels.append(_Open(encoding, tag == _ITEM))
            if vr == b"UN" and not encoding.explicit_in_unknown:
                encoding = IMPLICIT_LITTLE
                read = reader_of(encoding)
            if len(levels) == 1 and tag in tags:
                opened = _Header(tag, vr, length, encoding), source.base + at
                source.hold = opened[1]
        else:
            if not levels and (tag in tags or tag in PIXEL_TAGS):
                at = _add_value(elements, source, at, _Header(tag, vr, length, encoding), tags)
            at += length
    raise FaultyDataset(f"the data set has more than {MOST_ELEMENTS:,} elements")


def _closed(levels: list[_Open], encoding: ElementEncoding, tag: int) -> ElementEncoding:
    """The encoding that holds after a delimiter; one that closes nothing is ignored."""
    if tag == _ITEM_END:
        return levels.pop().encoding if levels and levels[-1].is_item else encoding
    while levels:
        innermost = levels.pop()
        encoding = innermost.encoding
        if not innermost.is_item:
            break
    return encoding


class _Header(NamedTuple):
    """The header of an element, which stands before its value."""

    tag: int
    vr: bytes
    length: int
    encoding: ElementEncoding


def _add_value(
    elements: Elements, source: Source, at: int, header: _Header, tags: Container[int]
) -> int:
    """Add the value at `at`; returns the place of `at` in the view, which may have moved.

    A value that the end of the data set cuts off is not added.
    """
    if header.tag in PIXEL_TAGS:
        elements.pixels = elements.pixels or PixelBytes(header.length)
    if header.tag not in tags:
        return at
    most = header.length
    if not isinstance(tags, Everything):
        may_be_sequence = header.vr in (b"", b"SQ", b"UN")
        most = min(most, LONGEST_SEQUENCE_BYTES if may_be_sequence else LONGEST_VALUE_BYTES)
    if at + most > len(source.view):
        at = source.more(at, most)
    value = bytes(source.view[at : at + most])
    if len(value) == most or header.tag in PIXEL_TAGS:
        elements.add(header.tag, Element(header.vr, value, header.length, header.encoding))
    return at


def _add_sequence(
    elements: Elements, source: Source, header: _Header, span: tuple[int, int]
) -> None:
    """Add a sequence of undefined length that spans two positions (bytes from the beginning)."""
    first, end = (position - source.base for position in span)
    value = bytes(source.view[first : min(end, first + LONGEST_SEQUENCE_BYTES)])
    vr = b"SQ" if header.vr == b"UN" else header.vr
    elements.add(header.tag, Element(vr, value, len(value), header.encoding))


def _add_fragments(
    elements: Elements, source: Source, at: int, header: _Header, tags: Container[int]
) -> int:
    """Count encapsulated pixel data (PS3.5 A.4), add it if it is in `tags`; the position behind."""
    unpack = struct.Struct(header.encoding.order + "HHL").unpack_from
    first, takes_value = source.base + at, header.tag in tags
    if takes_value:
        source.hold = first
    count = length_bytes = 0
    end = at
    while count < MOST_ELEMENTS:
        if at + 8 > len(source.view):
            at = source.more(at, 8)
        end = min(at, len(source.view))
        if at + 8 > len(source.view):
            length_bytes -= at - end  # the last one is cut off
            break
        group, number, length = unpack(source.view, at)
        tag = group << 16 | number
        if tag == _ITEM and length != UNDEFINED:
            count, length_bytes, at = count + 1, length_bytes + length, at + 8 + length
        else:
            at += 8 if tag == _SEQUENCE_END else 0
            break
    elements.pixels = elements.pixels or PixelBytes(length_bytes, count)
    if takes_value:
        value = bytes(source.view[first - source.base : end])
        elements.add(header.tag, Element(header.vr, value, UNDEFINED, header.encoding))
        source.hold = None
    return at


def _cut_pixels(elements: Elements, last_tag: int, beyond_bytes: int) -> None:
    """Reduce the length of pixel data that leads beyond the end of the data set."""
    if last_tag in PIXEL_TAGS and elements.pixels and not elements.pixels.fragments:
        elements.pixels.length_bytes = max(elements.pixels.length_bytes - max(beyond_bytes, 0), 0)


_Reading = Callable[[memoryview, int], tuple[int, bytes, int, int]]


def _readers() -> Callable[[ElementEncoding], _Reading]:
    """The readers of one walk, by encoding.

    Together they read a bounded number of odd elements; beyond it they raise FaultyDataset.
    """
    odd = count(1)

    def of_odd_vr(*arguments: Any) -> tuple[bytes, int, int]:
        if next(odd) > MOST_ODD_ELEMENTS:
            raise FaultyDataset(
                f"the data set has more than {MOST_ODD_ELEMENTS:,} elements of no known VR"
            )
        return _of_odd_vr(*arguments)

    return cache(partial(_reader, of_odd_vr))


def _reader(
    of_odd_vr: Callable[..., tuple[bytes, int, int]], encoding: ElementEncoding
) -> _Reading:
    """Reads (tag, VR or empty, value length, value position) where 8 bytes follow."""
    explicit_header = struct.Struct(encoding.order + "HH2sH").unpack_from
    implicit_header = struct.Struct(encoding.order + "HHL").unpack_from
    four_bytes = struct.Struct(encoding.order + "L").unpack_from

    def read_explicit(view: memoryview, at: int) -> tuple[int, bytes, int, int]:
        group, number, vr, length = explicit_header(view, at)
        tag = group << 16 | number
        if group == 0xFFFE:  # items and delimiters have no VR
            return tag, b"", four_bytes(view, at + 4)[0], at + 8
        if vr in _SHORT_VRS:
            return tag, vr, length, at + 8
        if vr not in _LONG_VRS:
            return tag, *of_odd_vr(view, at, four_bytes, length)
        if at + 12 > len(view):
            return tag, vr, 0, len(view)
        return tag, vr, four_bytes(view, at + 8)[0], at + 12

    def read_implicit(view: memoryview, at: int) -> tuple[int, bytes, int, int]:
        group, number, length = implicit_header(view, at)
        if group == 0x0002 and bytes(view[at + 4 : at + 6]) in _ALL_VRS:
            # file meta information gone astray is explicit even here (PS3.10 7.1)
            return read_explicit(view, at)
        return group << 16 | number, b"", length, at + 8

    return read_explicit if encoding.explicit else read_implicit


def _of_odd_vr(
    view: memoryview, at: int, four_bytes: Callable[[memoryview, int], tuple[int]], length: int
) -> tuple[bytes, int, int]:
    """(VR or empty, value length, value position) of an explicit element at `at` of unknown VR.

    Two capitals are a VR of a later standard, whose length has four bytes behind two reserved ones
    (PS3.5 6.2). Anything else is an implicit element gone astray, or a length of two bytes behind a
    VR that is no text. The first reading is taken that ends where another element begins.
    """
    vr = bytes(view[at + 4 : at + 6])
    of_four_bytes = at + 12 <= len(view) and vr.isalpha() and vr.isupper() and not length
    readings = [(vr, four_bytes(view, at + 8)[0], at + 12)] if of_four_bytes else []
    short, implicit = (vr, length, at + 8), (b"", four_bytes(view, at + 4)[0], at + 8)
    readings += [short, implicit] if vr.isupper() or vr == b"??" else [implicit, short]
    for reading in readings:
        _, value_bytes, value_at = reading
        end = value_at + (0 if value_bytes == UNDEFINED else value_bytes)
        if end == len(view) or _begins_element(view, end):
            return reading
    return readings[0]


def _begins_element(view: memoryview, at: int) -> bool:
    """Whether what is at `at` looks like an element with a VR, an item or a delimiter."""
    if at + 8 > len(view):
        return False
    return bytes(view[at + 4 : at + 6]) in _ALL_VRS or bytes(view[at : at + 2]) in _ITEM_GROUPS
