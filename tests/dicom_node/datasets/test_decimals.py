"""Decimal strings as DICOM has them, and as devices write them instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.datasets.decimals import decimal_of


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1.5", 1.5),
        (" -2 ", -2.0),
        ("+3.\0", 3.0),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("0,977", 0.977),  # a decimal comma
        ("0.97656250000000000001", 0.9765625),  # longer than a DS may be
    ],
)
def test_what_is_a_number(text: str, number: float) -> None:
    assert decimal_of(text) == number


@pytest.mark.parametrize(
    "text", ["", " ", "nan", "inf", "1e999", "1_000", "1,000.5", "1,2,3", "1 2", "٣", "0x10", "one"]
)
def test_what_is_none(text: str) -> None:
    assert decimal_of(text) is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_read_back(number: float) -> None:
    assert decimal_of(repr(number)) == number
