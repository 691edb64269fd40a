"""Values of elements as they lie in a file: texts in their character sets, numbers, bounds."""

from __future__ import annotations

import struct

import pytest

from dicom_node.datasets.element_values import LONGEST_TEXT, ElementValues, NoValue, tag_of
from dicom_node.elements import EXPLICIT_BIG, EXPLICIT_LITTLE, Element, ElementEncoding, Elements
from dicom_node.reading_errors import quietly


def values(
    *elements: tuple[str, bytes, bytes], encoding: ElementEncoding = EXPLICIT_LITTLE
) -> ElementValues:
    """(keyword, VR, value) each as one element."""
    held = Elements(encoding)
    for keyword, vr, value in elements:
        held.add(tag_of(keyword), Element(vr, value, len(value), encoding))
    return ElementValues(held)


def test_a_keyword_has_its_tag() -> None:
    assert tag_of("Rows") == 0x0028_0010
    with pytest.raises(ValueError, match="Rowes is no keyword"):
        tag_of("Rowes")


@pytest.mark.parametrize(
    ("character_set", "value", "text"),
    [
        (b"ISO_IR 100", b"M\xfcller", "Müller"),
        (b"ISO_IR 192", "Μαρία".encode(), "Μαρία"),
        (b"", b"Mueller", "Mueller"),
    ],
)
def test_text_is_read_in_its_character_set(character_set: bytes, value: bytes, text: str) -> None:
    held = values(("SpecificCharacterSet", b"CS", character_set), ("PatientName", b"PN", value))

    assert held.texts("PatientName") == (text,)


def test_a_set_that_nobody_knows_is_the_default() -> None:
    with quietly():
        no_set = ("SpecificCharacterSet", b"CS", b"no such set")
        held = values(no_set, ("PatientName", b"PN", b"M\xfcller"))

    assert held.texts("PatientName") == ("Müller",)


def test_an_item_has_its_parents_sets_unless_it_says_its_own() -> None:
    element = Element(b"LO", b"\xc1\xe2", 2, EXPLICIT_LITTLE)
    item = Elements(EXPLICIT_LITTLE, {tag_of("SeriesDescription"): element})

    assert ElementValues(item, ["iso8859_7"]).texts("SeriesDescription") == ("Αβ",)


def test_values_are_split_and_stripped() -> None:
    assert values(("ImageType", b"CS", b"ORIGINAL \\ PRIMARY\0")).texts("ImageType") == (
        "ORIGINAL",
        "PRIMARY",
    )
    assert values().texts("ImageType") == ()


def test_a_text_is_cut_at_its_bound() -> None:
    (text,) = values(("SeriesDescription", b"LO", b"x" * 5000)).texts("SeriesDescription")

    assert len(text) == LONGEST_TEXT


@pytest.mark.parametrize(
    ("encoding", "value"),
    [(EXPLICIT_LITTLE, struct.pack("<2h", -3, 700)), (EXPLICIT_BIG, struct.pack(">2h", -3, 700))],
)
def test_binary_numbers_are_read_in_their_byte_order(
    encoding: ElementEncoding, value: bytes
) -> None:
    held = values(("SmallestImagePixelValue", b"SS", value), encoding=encoding)

    assert held.numbers("SmallestImagePixelValue") == (-3.0, 700.0)


def test_without_a_vr_the_dictionarys_holds() -> None:
    assert values(("Rows", b"", b"\x00\x02")).integer("Rows") == 512


def test_a_number_of_values_can_be_asked_for() -> None:
    held = values(("PixelSpacing", b"DS", b"0.5\\0.7"))

    assert held.numbers("PixelSpacing", 2) == (0.5, 0.7)
    with pytest.raises(NoValue):
        held.numbers("PixelSpacing", 3)
    assert values().numbers("PixelSpacing", 2) == ()


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("PixelSpacing", b"DS", b"0.5\\wide"),  # no number
        ("PixelSpacing", b"DS", b"0" * 2000 + b"1"),  # cut, it would be another number
        ("Rows", b"US", b"\x01\x02\x03"),  # no whole numbers of two bytes
        ("Rows", b"OB", b"12"),  # neither text nor number
        ("Rows", b"US", bytes(200)),  # more numbers than anything has
    ],
)
def test_what_cannot_be_used_is_no_value(keyword: str, vr: bytes, value: bytes) -> None:
    with pytest.raises(NoValue):
        values((keyword, vr, value)).numbers(keyword)


@pytest.mark.parametrize(
    ("text", "number"), [(b"7", 7), (b"-2147483648", -(2**31)), (b"2147483647", 2**31 - 1)]
)
def test_an_integer_has_32_bits(text: bytes, number: int) -> None:
    assert values(("InstanceNumber", b"IS", text)).integer("InstanceNumber") == number


@pytest.mark.parametrize("text", [b"7.5", b"2147483648", b"-2147483649"])
def test_no_other_number_is_an_integer(text: bytes) -> None:
    with pytest.raises(NoValue):
        values(("InstanceNumber", b"IS", text)).integer("InstanceNumber")


def test_an_element_that_comes_twice_and_differs_is_no_value() -> None:
    twice = values(("Rows", b"US", b"\x04\0"), ("Rows", b"US", b"\x05\0"))
    alike = values(("Rows", b"US", b"\x04\0"), ("Rows", b"US", b"\x04\0"))

    with pytest.raises(NoValue):
        twice.integer("Rows")
    assert alike.integer("Rows") == 4
