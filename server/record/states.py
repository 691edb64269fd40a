"""Which state may follow which. What is not in these tables is an error, never a silent change."""

from __future__ import annotations

from collections.abc import Mapping

from server.errors import WrongState
from server.values import DeliveryState, RequestState, StudyState

_Q, _S, _G, _W, _N, _D, _R, _F, _C, _P = RequestState

REQUEST_TRANSITIONS: Mapping[RequestState, frozenset[RequestState]] = {
    _Q: frozenset({_S, _R, _F, _C, _P}),
    # back to QUEUED: a newer pipeline begins the work anew
    _S: frozenset({_G, _F, _C, _P, _Q}),
    _G: frozenset({_W, _F, _C, _P, _Q}),
    _W: frozenset({_N, _F, _C, _P, _Q}),
    _N: frozenset({_D, _F, _C, _P}),
    _D: frozenset({_P}),
    _R: frozenset({_P}),
    # a retry: from the stage that failed, or only the sending
    _F: frozenset({_Q, _N, _P}),
    _C: frozenset(),
    _P: frozenset(),
}

DELIVERY_TRANSITIONS: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(
        {DeliveryState.DELIVERED, DeliveryState.RETRYING, DeliveryState.DEAD}
    ),
    DeliveryState.RETRYING: frozenset(
        {
            DeliveryState.DELIVERED,
            DeliveryState.RETRYING,
            DeliveryState.DEAD,
            DeliveryState.PENDING,
        }
    ),
    DeliveryState.DELIVERED: frozenset(),
    DeliveryState.DEAD: frozenset({DeliveryState.PENDING}),
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
