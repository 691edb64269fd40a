"""What a destination's answer to C-STORE means for delivery: taken, try again later, or give up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.statuses import explain


class Outcome(StrEnum):
    """What becomes of an instance that was answered."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


@dataclass(frozen=True)
class Verdict:
    """Statuses `first`..`last` (both included) have `outcome`.

    `advice` tells an administrator what to do.
    """

    first: int
    last: int
    outcome: Outcome
    advice: str
    section: str


# The first row that holds a status decides. A status in no row is a failure for good: nothing says
# waiting would help, and a dead letter is seen where an endless retry is not.
VERDICTS: tuple[Verdict, ...] = (
    Verdict(0x0000, 0x0000, Outcome.DELIVERED, "", "PS3.7 C.1"),
    Verdict(0xB000, 0xBFFF, Outcome.DELIVERED, "", "PS3.4 table B.2-1, PS3.7 C.4"),
    Verdict(0x0001, 0x0001, Outcome.DELIVERED, "", "PS3.7 C.4"),
    Verdict(0x0107, 0x0107, Outcome.DELIVERED, "", "PS3.7 C.4.2"),
    Verdict(0x0116, 0x0116, Outcome.DELIVERED, "", "PS3.7 C.4.3"),
    Verdict(
        0xA700,
        0xA7FF,
        Outcome.TRANSIENT,
        "free space or load on the destination; it is tried again",
        "PS3.4 table B.2-1",
    ),
    Verdict(
        0x0110,
        0x0110,
        Outcome.TRANSIENT,
        "look into the destination's log; it is tried again",
        "PS3.7 C.5.14",
    ),
    Verdict(
        0x0213,
        0x0213,
        Outcome.TRANSIENT,
        "lower the load on the destination; it is tried again",
        "PS3.7 C.5.24",
    ),
    Verdict(
        0x0122,
        0x0122,
        Outcome.PERMANENT,
        "allow this SOP class on the destination, then retry the request",
        "PS3.7 C.5.26",
    ),
    Verdict(
        0x0124,
        0x0124,
        Outcome.PERMANENT,
        "allow our AE title to store on the destination, then retry the request",
        "PS3.7 C.5.17",
    ),
    Verdict(
        0xA900,
        0xA9FF,
        Outcome.PERMANENT,
        "the destination finds the object wrong: see its log, then retry the request",
        "PS3.4 table B.2-1",
    ),
    Verdict(
        0xC000,
        0xCFFF,
        Outcome.PERMANENT,
        "the destination cannot read the object: see its log, then retry the request",
        "PS3.4 table B.2-1",
    ),
)

_UNLISTED = "see the destination's log, then retry the request"


def verdict_on(status: int) -> Verdict:
    """The row that decides about `status`."""
    for row in VERDICTS:
        if row.first <= status <= row.last:
            return row
    return Verdict(status, status, Outcome.PERMANENT, _UNLISTED, "PS3.7 annex C")


def meaning_of(status: int) -> str:
    """The standard's words for a status, with the code."""
    return f"0x{status:04X} ({explain(status).meaning})"
