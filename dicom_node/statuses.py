"""The statuses of C-STORE, from the standard's tables, and the function from errors to them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.errors import (
    DeliveryError,
    DicomNodeError,
    FaultyDataset,
    InboxError,
    NotAVolume,
    NoUsableSeries,
    PermanentDeliveryError,
    ResultMismatch,
    StorageFull,
    TransientDeliveryError,
    UndecodablePixels,
    UnreadableDataset,
    UnusableAnnotation,
    UnusableValue,
    WrongUids,
)


class Category(StrEnum):
    """Status classes (PS3.7 annex C)."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Status:
    """A row of the standard: codes `first`..`last` (both included) mean `meaning`.

    `section` is its place in the standard.
    """

    first: int
    last: int
    category: Category
    meaning: str
    section: str


STORE_STATUSES: tuple[Status, ...] = (
    Status(0x0000, 0x0000, Category.SUCCESS, "Success", "PS3.4 table B.2-1"),
    Status(0xA700, 0xA7FF, Category.FAILURE, "Refused: Out of Resources", "PS3.4 table B.2-1"),
    Status(
        0xA900,
        0xA9FF,
        Category.FAILURE,
        "Error: Data Set does not match SOP Class",
        "PS3.4 table B.2-1",
    ),
    Status(0xC000, 0xCFFF, Category.FAILURE, "Error: Cannot understand", "PS3.4 table B.2-1"),
    Status(0xB000, 0xB000, Category.WARNING, "Coercion of Data Elements", "PS3.4 table B.2-1"),
    Status(0xB006, 0xB006, Category.WARNING, "Elements Discarded", "PS3.4 table B.2-1"),
    Status(
        0xB007, 0xB007, Category.WARNING, "Data Set does not match SOP Class", "PS3.4 table B.2-1"
    ),
    Status(0x0110, 0x0110, Category.FAILURE, "Processing failure", "PS3.7 C.5"),
    Status(0x0111, 0x0111, Category.FAILURE, "Duplicate SOP Instance", "PS3.7 C.5"),
    Status(0x0117, 0x0117, Category.FAILURE, "Invalid SOP Instance", "PS3.7 9.1.1.1.9"),
    Status(0x0122, 0x0122, Category.FAILURE, "Refused: SOP Class not supported", "PS3.7 9.1.1.1.9"),
    Status(0x0124, 0x0124, Category.FAILURE, "Refused: Not authorized", "PS3.7 9.1.1.1.9"),
    Status(0x0210, 0x0210, Category.FAILURE, "Duplicate invocation", "PS3.7 9.1.1.1.9"),
    Status(0x0211, 0x0211, Category.FAILURE, "Unrecognized operation", "PS3.7 9.1.1.1.9"),
    Status(0x0212, 0x0212, Category.FAILURE, "Mistyped argument", "PS3.7 9.1.1.1.9"),
    Status(0x0213, 0x0213, Category.FAILURE, "Resource limitation", "PS3.7 C.5"),
)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110

# Only the inbox's errors arise while a peer waits for its answer. The others have their row so that
# an error which strays there is answered, and so that a new class is not forgotten (a test compares
# this with errors.py).
STATUS_OF_ERROR: dict[type[DicomNodeError], int] = {
    StorageFull: OUT_OF_RESOURCES,
    # a disk that fails is, for the peer, as one that is full: try again later
    InboxError: OUT_OF_RESOURCES,
    UnreadableDataset: CANNOT_UNDERSTAND,
    FaultyDataset: CANNOT_UNDERSTAND,
    WrongUids: DOES_NOT_MATCH,
    DicomNodeError: PROCESSING_FAILURE,
    NotAVolume: PROCESSING_FAILURE,
    NoUsableSeries: PROCESSING_FAILURE,
    UndecodablePixels: PROCESSING_FAILURE,
    UnusableValue: PROCESSING_FAILURE,
    UnusableAnnotation: PROCESSING_FAILURE,
    ResultMismatch: PROCESSING_FAILURE,
    DeliveryError: PROCESSING_FAILURE,
    TransientDeliveryError: PROCESSING_FAILURE,
    PermanentDeliveryError: PROCESSING_FAILURE,
}


def status_of(error: BaseException) -> int:
    """The DIMSE status that answers a C-STORE which ended in `error`.

    0x0110 answers an error that is not of our own tree.
    """
    if not isinstance(error, DicomNodeError):
        return PROCESSING_FAILURE
    return next(STATUS_OF_ERROR[kind] for kind in type(error).__mro__ if kind in STATUS_OF_ERROR)


def explain(code: int) -> Status:
    """The row of a status a peer gave. A code that no table has is a failure (PS3.7 C.5)."""
    for row in STORE_STATUSES:
        if row.first <= code <= row.last:
            return row
    return Status(code, code, Category.FAILURE, f"Unknown status 0x{code:04X}", "PS3.7 annex C")
