"""The table of statuses, and that no error is without one."""

from __future__ import annotations

import inspect

import pytest

from dicom_node import errors
from dicom_node.errors import (
    DicomNodeError,
    InboxError,
    NotAVolume,
    StorageFull,
    UnreadableDataset,
    WrongUids,
)
from dicom_node.statuses import (
    STATUS_OF_ERROR,
    STORE_STATUSES,
    Category,
    explain,
    status_of,
)


def test_every_error_class_has_a_row() -> None:
    classes = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, DicomNodeError)
    }

    assert set(STATUS_OF_ERROR) == classes


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("full"), 0xA700),
        (InboxError("the disk failed"), 0xA700),
        (WrongUids("differ"), 0xA900),
        (UnreadableDataset("garbage"), 0xC000),
        (NotAVolume("not ours to answer"), 0x0110),
        (ZeroDivisionError("a fault of ours"), 0x0110),
    ],
)
def test_an_error_is_answered_with_its_status(error: Exception, status: int) -> None:
    assert status_of(error) == status


def test_a_new_kind_of_inbox_error_is_answered_like_its_parent() -> None:
    class TornDataset(UnreadableDataset):
        pass

    assert status_of(TornDataset("torn")) == 0xC000


@pytest.mark.parametrize(
    ("code", "category"),
    [
        (0x0000, Category.SUCCESS),
        (0xB000, Category.WARNING),
        (0xB006, Category.WARNING),
        (0xB007, Category.WARNING),
        (0xA700, Category.FAILURE),
        (0xA7FF, Category.FAILURE),
        (0xA900, Category.FAILURE),
        (0xC000, Category.FAILURE),
        (0xCFFF, Category.FAILURE),
        (0x0122, Category.FAILURE),
        (0x0124, Category.FAILURE),
        (0x1234, Category.FAILURE),  # in no table
        (0xB123, Category.FAILURE),  # not every B is a warning of storage
    ],
)
def test_a_status_is_explained(code: int, category: Category) -> None:
    row = explain(code)

    assert row.category is category
    assert row.first <= code <= row.last


def test_every_row_names_its_section_and_no_code_has_two_rows() -> None:
    codes = [code for row in STORE_STATUSES for code in range(row.first, row.last + 1)]

    assert all(row.section.startswith(("PS3.4", "PS3.7")) for row in STORE_STATUSES)
    assert len(codes) == len(set(codes))
