"""Private elements count only where their creator's name stands in the same block."""

from __future__ import annotations

import struct

import pytest

from dicom_node.datasets.private_values import PRIVATE_TAGS, private_values
from dicom_node.elements import EXPLICIT_BIG, EXPLICIT_LITTLE, Element, ElementEncoding, Elements

GE, SIEMENS, PHILIPS = b"GEMS_PARM_01", b"SIEMENS MR HEADER ", b"Philips Imaging DD 001"


def elements(
    creator: bytes,
    tag: int,
    vr: bytes,
    value: bytes,
    encoding: ElementEncoding = EXPLICIT_LITTLE,
) -> Elements:
    creator_tag = tag & 0xFFFF_0000 | 0x0010
    return Elements(
        encoding,
        {
            creator_tag: Element(b"LO", creator, len(creator), encoding),
            tag: Element(vr, value, len(value), encoding),
        },
    )


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (elements(GE, 0x0043_102F, b"SS", b"\x02\0"), {"GEComponent": "2"}),
        (elements(GE, 0x0043_102F, b"SS", b"\0\x02", EXPLICIT_BIG), {"GEComponent": "2"}),
        (elements(GE, 0x0043_1039, b"IS", b"800\\8\\0"), {"DiffusionBValue": "800"}),
        # thousands of millions are a flag and no part of the b-value
        (elements(GE, 0x0043_1039, b"IS", b"1000000800"), {"DiffusionBValue": "800"}),
        (elements(SIEMENS, 0x0019_100C, b"IS", b"1000"), {"DiffusionBValue": "1000"}),
        (elements(PHILIPS, 0x2001_1003, b"FL", struct.pack("<f", 50)), {"DiffusionBValue": "50"}),
        # written without a VR, or as unknown: it is the vendor's
        (elements(PHILIPS, 0x2001_1003, b"UN", struct.pack("<f", 50)), {"DiffusionBValue": "50"}),
        (elements(GE, 0x0043_102F, b"", b"\x03\0"), {"GEComponent": "3"}),
    ],
)
def test_each_vendors_values(held: Elements, expected: dict[str, str]) -> None:
    assert private_values(held) == expected


@pytest.mark.parametrize(
    "held",
    [
        elements(b"SOMEBODY ELSE", 0x0043_102F, b"SS", b"\x02\0"),
        elements(GE, 0x0043_102F, b"SS", b"\x02"),  # half a number
        elements(GE, 0x0043_1039, b"IS", b"many"),
        elements(PHILIPS, 0x2001_1003, b"FL", struct.pack("<f", float("inf"))),
        Elements(EXPLICIT_LITTLE),
    ],
)
def test_what_is_another_creators_or_no_number_counts_for_nothing(held: Elements) -> None:
    assert private_values(held) == {}


def test_the_walk_is_asked_for_the_creators_too() -> None:
    assert {0x0043_0010, 0x0043_102F, 0x0019_0010, 0x2001_0010} < PRIVATE_TAGS
