"""One attribute at a time: what is read of it, and the sentence where it cannot be used."""

from __future__ import annotations

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.datasets.attribute_values import (
    attribute_name,
    decimal,
    decimals,
    integer,
    items,
    shown_term,
    term,
    texts,
)
from dicom_node.errors import UnusableValue
from dicom_node.reading_errors import quietly


def raw(keyword: str, vr: str | None, value: bytes) -> Dataset:
    """A data set with one element as it lies in a file, not decoded yet."""
    ds = Dataset()
    tag = Tag(keyword)
    ds._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return ds


def unknown(keyword: str, value: bytes) -> Dataset:
    """A data set with one element of unknown VR."""
    ds = Dataset()
    ds.add_new(keyword, "UN", value)
    return ds


def test_an_attribute_is_named_as_in_the_standard() -> None:
    assert attribute_name("RescaleIntercept") == "Rescale Intercept"


@pytest.mark.parametrize(
    ("value", "numbers"),
    [(b"1.5\\-2 ", (1.5, -2.0)), (b"0,5", (0.5,)), (b"", ()), (b" \0", ())],
)
def test_decimal_strings_are_numbers(value: bytes, numbers: tuple[float, ...]) -> None:
    assert decimals(raw("PixelSpacing", "DS", value), "PixelSpacing") == numbers


def test_a_missing_attribute_has_no_number() -> None:
    assert decimals(Dataset(), "PixelSpacing") == ()
    assert decimal(Dataset(), "RescaleSlope") is None
    assert integer(Dataset(), "Rows") is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"NaN", 'is "NaN", which is no finite number'),
        (b"1e999", 'is "1e999", which is no finite number'),
        (b"Doe^Jane", "is a text, which is no finite number"),  # it could be a name
    ],
)
def test_what_is_no_number_is_repeated_only_where_it_can_be_no_name(
    value: bytes, problem: str
) -> None:
    with pytest.raises(UnusableValue, match="Rescale Slope") as refusal:
        decimals(raw("RescaleSlope", "DS", value), "RescaleSlope")
    assert problem in str(refusal.value)
    assert "Doe" not in str(refusal.value)


def test_one_number_is_not_two_equal_ones() -> None:
    with pytest.raises(UnusableValue, match="Rescale Slope has 2 values"):
        decimal(raw("RescaleSlope", "DS", b"1\\1"), "RescaleSlope")


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert integer(raw("InstanceNumber", "IS", b"7.0"), "InstanceNumber") == 7
    with pytest.raises(UnusableValue, match="Instance Number is no whole number"):
        integer(raw("InstanceNumber", "IS", b"7.5"), "InstanceNumber")


@pytest.mark.parametrize(("value", "number"), [(b"\x07\x01", 263), (b"\x07\0\x01\0", 65543)])
def test_bytes_of_no_known_vr_are_a_little_endian_integer(value: bytes, number: int) -> None:
    assert integer(unknown("Rows", value), "Rows") == number


def test_bytes_of_another_length_are_no_number() -> None:
    with quietly():
        odd = unknown("Rows", b"abcdef")

    with pytest.raises(UnusableValue, match="Rows is no number"):
        integer(odd, "Rows")


def test_a_term_is_in_capitals_with_its_values_joined() -> None:
    assert term(raw("ImageType", "CS", b"original\\Primary "), "ImageType") == "ORIGINAL\\PRIMARY"
    assert term(Dataset(), "ImageType") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ybr_full", "YBR_FULL"),
        ("M\\ND", "M\\ND"),
        ("", ""),
        ("Doe^Jane", "another text"),
        ("SEVENTEEN LETTERS", "another text"),
        ("\\".join(["A"] * 40), "another text"),  # longer than a person would write
    ],
)
def test_only_a_legal_term_is_repeated(text: str, shown: str) -> None:
    assert shown_term(text) == shown


def test_texts_are_without_the_spaces_round_them() -> None:
    assert texts(raw("SeriesDescription", "LO", b" a \\ b\0"), "SeriesDescription") == ("a", "b")


def test_a_sequence_has_its_items() -> None:
    ds = Dataset()
    ds.SharedFunctionalGroupsSequence = [Dataset(), Dataset()]

    assert len(items(ds, "SharedFunctionalGroupsSequence")) == 2
    assert items(ds, "PerFrameFunctionalGroupsSequence") == []


def test_what_is_no_sequence_is_said() -> None:
    ds = Dataset()
    ds.add_new("SharedFunctionalGroupsSequence", "LO", "a")

    with pytest.raises(UnusableValue, match="Shared Functional Groups Sequence is no sequence"):
        items(ds, "SharedFunctionalGroupsSequence")
