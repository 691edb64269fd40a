"""What a destination's answer to C-STORE means for delivery: taken, try again later, or give up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.statuses import explain


class DeliveryOutcome(StrEnum):
    """What the status of a C-STORE means for the delivery of its instance."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


@dataclass(frozen=True)
class StatusRule:
    """Statuses `first`..`last` (both included) have `outcome`.

    `advice` tells an administrator what to do, `section` is the place in the standard.
    """

    first: int
    last: int
    outcome: DeliveryOutcome
    advice: str
    section: str


# The first row that holds a status decides. A status in no row is a failure for good: nothing says
# waiting would help, and a dead letter is seen where an endless retry is not.
STATUS_RULES: tuple[StatusRule, ...] = (
    StatusRule(0x0000, 0x0000, DeliveryOutcome.DELIVERED, "", "PS3.7 C.1"),
    StatusRule(0xB000, 0xBFFF, DeliveryOutcome.DELIVERED, "", "PS3.4 table B.2-1, PS3.7 C.4"),
    StatusRule(0x0001, 0x0001, DeliveryOutcome.DELIVERED, "", "PS3.7 C.4"),
    StatusRule(0x0107, 0x0107, DeliveryOutcome.DELIVERED, "", "PS3.7 C.4.2"),
    # a UID of ours is one object for ever: what is there already is this one, of a try whose answer
    # was lost
    StatusRule(0x0111, 0x0111, DeliveryOutcome.DELIVERED, "", "PS3.7 C.5"),
    StatusRule(0x0116, 0x0116, DeliveryOutcome.DELIVERED, "", "PS3.7 C.4.3"),
    StatusRule(
        0xA700,
        0xA7FF,
        DeliveryOutcome.TRANSIENT,
        "free space or load on the destination; it is tried again",
        "PS3.4 table B.2-1",
    ),
    StatusRule(
        0x0110,
        0x0110,
        DeliveryOutcome.TRANSIENT,
        "look into the destination's log; it is tried again",
        "PS3.7 C.5.14",
    ),
    StatusRule(
        0x0213,
        0x0213,
        DeliveryOutcome.TRANSIENT,
        "lower the load on the destination; it is tried again",
        "PS3.7 C.5.24",
    ),
    StatusRule(
        0x0122,
        0x0122,
        DeliveryOutcome.PERMANENT,
        "allow this SOP class on the destination, then retry the request",
        "PS3.7 C.5.26",
    ),
    StatusRule(
        0x0124,
        0x0124,
        DeliveryOutcome.PERMANENT,
        "allow our AE title to store on the destination, then retry the request",
        "PS3.7 C.5.17",
    ),
    StatusRule(
        0xA900,
        0xA9FF,
        DeliveryOutcome.PERMANENT,
        "the destination finds the object wrong: see its log, then retry the request",
        "PS3.4 table B.2-1",
    ),
    StatusRule(
        0xC000,
        0xCFFF,
        DeliveryOutcome.PERMANENT,
        "the destination cannot read the object: see its log, then retry the request",
        "PS3.4 table B.2-1",
    ),
)

_UNLISTED = "see the destination's log, then retry the request"


def rule_for(status: int) -> StatusRule:
    """The row that decides about `status`."""
    for row in STATUS_RULES:
        if row.first <= status <= row.last:
            return row
    return StatusRule(status, status, DeliveryOutcome.PERMANENT, _UNLISTED, "PS3.7 annex C")


def meaning_of(status: int) -> str:
    """The meaning of a status in the standard, with its code."""
    return f"0x{status:04X} ({explain(status).meaning})"
