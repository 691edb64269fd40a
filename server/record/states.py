"""Which state may follow which. What is not in these tables is an error, never a silent change."""

from __future__ import annotations

from collections.abc import Mapping

from server.errors import WrongState
from server.values import DeliveryState, RequestState, StudyState

REQUEST_TRANSITIONS: Mapping[RequestState, frozenset[RequestState]] = {
    RequestState.QUEUED: frozenset(
        {
            RequestState.SELECTED,
            RequestState.REJECTED,
            RequestState.FAILED,
            RequestState.CANCELLED,
            RequestState.SUPERSEDED,
        }
    ),
    # back to QUEUED: a newer pipeline begins the work anew
    RequestState.SELECTED: frozenset(
        {
            RequestState.SEGMENTING,
            RequestState.FAILED,
            RequestState.CANCELLED,
            RequestState.SUPERSEDED,
            RequestState.QUEUED,
        }
    ),
    RequestState.SEGMENTING: frozenset(
        {
            RequestState.WRITING,
            RequestState.FAILED,
            RequestState.CANCELLED,
            RequestState.SUPERSEDED,
            RequestState.QUEUED,
        }
    ),
    RequestState.WRITING: frozenset(
        {
            RequestState.SENDING,
            RequestState.FAILED,
            RequestState.CANCELLED,
            RequestState.SUPERSEDED,
            RequestState.QUEUED,
        }
    ),
    RequestState.SENDING: frozenset(
        {
            RequestState.DONE,
            RequestState.FAILED,
            RequestState.CANCELLED,
            RequestState.SUPERSEDED,
        }
    ),
    RequestState.DONE: frozenset({RequestState.SUPERSEDED}),
    RequestState.REJECTED: frozenset({RequestState.SUPERSEDED}),
    # a retry: from the stage that failed, or only the sending
    RequestState.FAILED: frozenset(
        {RequestState.QUEUED, RequestState.SENDING, RequestState.SUPERSEDED}
    ),
    RequestState.CANCELLED: frozenset(),
    RequestState.SUPERSEDED: frozenset(),
}

DELIVERY_TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(
        {
            DeliveryState.DELIVERED,
            DeliveryState.RETRYING,
            DeliveryState.DEAD,
            DeliveryState.WITHDRAWN,
            DeliveryState.HELD,
        }
    ),
    # released by a person
    DeliveryState.HELD: frozenset({DeliveryState.PENDING, DeliveryState.WITHDRAWN}),
    DeliveryState.RETRYING: frozenset(
        {
            DeliveryState.DELIVERED,
            DeliveryState.RETRYING,
            DeliveryState.DEAD,
            DeliveryState.PENDING,
            DeliveryState.WITHDRAWN,
        }
    ),
    DeliveryState.DELIVERED: frozenset(),
    DeliveryState.DEAD: frozenset({DeliveryState.PENDING}),
    # a retry of the request
    DeliveryState.WITHDRAWN: frozenset({DeliveryState.PENDING}),
}

STUDY_TRANSITIONS: Mapping[StudyState, frozenset[StudyState]] = {
    StudyState.RECEIVING: frozenset({StudyState.COMPLETE}),
    # late instances: the next version
    StudyState.COMPLETE: frozenset({StudyState.RECEIVING}),
}


def check_request(before: RequestState, after: RequestState) -> None:
    """Raise WrongState unless a request in `before` may become `after`."""
    if after not in REQUEST_TRANSITIONS[before]:
        raise WrongState(f"a request that is {before} cannot become {after}")


def check_delivery(before: DeliveryState, after: DeliveryState) -> None:
    """Raise WrongState unless a delivery in `before` may become `after`."""
    if after not in DELIVERY_TRANSITIONS[before]:
        raise WrongState(f"a delivery that is {before} cannot become {after}")
