"""The tables of states, written again by hand."""

from __future__ import annotations

import pytest

from server.errors import WrongState
from server.record.states import (
    DELIVERY_TRANSITIONS,
    REQUEST_TRANSITIONS,
    check_delivery,
    check_request,
)
from server.values import ENDED_STATES, DeliveryState, RequestState

ALLOWED = {
    "QUEUED": "SELECTED REJECTED FAILED CANCELLED SUPERSEDED",
    "SELECTED": "SEGMENTING FAILED CANCELLED SUPERSEDED QUEUED",
    "SEGMENTING": "WRITING FAILED CANCELLED SUPERSEDED QUEUED",
    "WRITING": "SENDING FAILED CANCELLED SUPERSEDED QUEUED",
    "SENDING": "DONE FAILED CANCELLED SUPERSEDED",
    "DONE": "SUPERSEDED",
    "REJECTED": "SUPERSEDED",
    "FAILED": "QUEUED SENDING SUPERSEDED",
    "CANCELLED": "",
    "SUPERSEDED": "",
}


@pytest.mark.parametrize("before", RequestState)
@pytest.mark.parametrize("after", RequestState)
def test_a_request_moves_only_along_the_table(before: RequestState, after: RequestState) -> None:
    if after in ALLOWED[before].split():
        check_request(before, after)
    else:
        with pytest.raises(WrongState, match=f"{before} cannot become {after}"):
            check_request(before, after)


def test_every_state_has_its_line_and_every_working_state_can_end() -> None:
    assert set(REQUEST_TRANSITIONS) == set(RequestState)
    assert set(DELIVERY_TRANSITIONS) == set(DeliveryState)
    for state in set(RequestState) - ENDED_STATES:
        assert {RequestState.FAILED, RequestState.CANCELLED} <= REQUEST_TRANSITIONS[state]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (DeliveryState.DELIVERED, DeliveryState.PENDING),  # never sent twice by a retry
        (DeliveryState.DELIVERED, DeliveryState.DEAD),
        (DeliveryState.DEAD, DeliveryState.DELIVERED),  # only through a retry
        (DeliveryState.DEAD, DeliveryState.RETRYING),
        (DeliveryState.PENDING, DeliveryState.PENDING),
        (DeliveryState.DELIVERED, DeliveryState.WITHDRAWN),  # the archive has it
        (DeliveryState.DEAD, DeliveryState.WITHDRAWN),  # it says why nothing came
        (DeliveryState.WITHDRAWN, DeliveryState.DELIVERED),  # only through a retry
        (DeliveryState.WITHDRAWN, DeliveryState.RETRYING),
        (DeliveryState.HELD, DeliveryState.DELIVERED),  # only through a release
    ],
)
def test_a_delivery_cannot_leave_the_table(before: DeliveryState, after: DeliveryState) -> None:
    with pytest.raises(WrongState):
        check_delivery(before, after)
