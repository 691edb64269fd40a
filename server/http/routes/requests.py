"""/requests: ask, look, follow, try again, give up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, status

from server.errors import WrongState
from server.http.dependencies import (
    LARGEST_OFFSET,
    Asker,
    WithPage,
    WithServices,
    WithSharedCalls,
    linked,
    one_more,
)
from server.http.described import problem_responses
from server.http.ports import Services
from server.http.schemas import RequestIn, Uid
from server.record.views import RequestSummary, RequestView, Submitted, TurnView
from server.values import ENDED_STATES, RequestState

TurnNumber = Annotated[int, Path(ge=0, le=LARGEST_OFFSET)]


class PngResponse(Response):
    """A picture."""

    media_type = "image/png"


router = APIRouter(prefix="/requests", tags=["requests"])


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problem_responses(413),
)
def submit(body: RequestIn, response: Response, services: WithServices, actor: Asker) -> Submitted:
    """Ask for targets in a study that the node holds and that is complete.

    The work goes on by itself.
    """
    submitted = services.record.submit(
        body.study_instance_uid,
        body.targets,
        series_instance_uid=body.series_instance_uid,
        destinations=body.destinations,
        priority=body.priority,
        policy=body.policy,
        segmenter=body.segmenter,
        force=body.force,
        actor=actor,
    )
    response.headers["Location"] = f"/api/v1{router.prefix}/{submitted.id}"
    return submitted


@router.get("")
def list_requests(
    request: Request,
    response: Response,
    services: WithServices,
    page: WithPage,
    state: RequestState | None = None,
    study_instance_uid: Annotated[Uid | None, Query()] = None,
) -> tuple[RequestSummary, ...]:
    """Requests, oldest first, without what hangs on them.

    `state` and `study_instance_uid` pick some of them.

    The next page is in the Link header.
    """
    rows = services.record.requests(
        one_more(page), state=state, study_instance_uid=study_instance_uid
    )
    return linked(request, response, page, rows)


@router.get("/{request_id}")
def show(request_id: str, services: WithServices) -> RequestView:
    """One request: state, targets, results, deliveries."""
    return services.record.request(request_id)


@router.get("/{request_id}/turns")
def turns(request_id: str, services: WithServices) -> tuple[TurnView, ...]:
    """Every turn of the agent so far, by target, in order."""
    return services.record.turns(request_id)


@router.get(
    "/{request_id}/turns/{n}/picture.png",
    response_class=PngResponse,
    responses=problem_responses(410, 429),
)
async def picture(
    request_id: str, n: TurnNumber, services: WithServices, shared_calls: WithSharedCalls
) -> PngResponse:
    """A turn of a request that has ended as a picture: what the planner was shown, beside it the
    action and the mask that came of it.

    `n` is that of the turn in /requests/{id}/turns. 409 while the request is worked on, 410 when
    the turn's masks or the study are not here any more, 429 when too many are drawn at once.
    """
    return PngResponse(await shared_calls.pictures.run(lambda: _drawn(services, request_id, n)))


def _drawn(services: Services, request_id: str, n: int) -> bytes:
    turn = services.record.turn(request_id, n)
    state = services.record.request(request_id).state
    if state not in ENDED_STATES:
        raise WrongState(f"the request is {state}: its turns can be drawn when it has ended")
    return services.pictures.png(request_id, turn.target_index, turn.turn)


@router.post("/{request_id}/retry", status_code=status.HTTP_202_ACCEPTED)
def retry(request_id: str, services: WithServices, actor: Asker) -> RequestView:
    """Begin a FAILED request again from what failed; results that were written are only sent.

    One that is SENDING tries what is not delivered now, not at its next time.
    """
    return services.record.retry(request_id, actor=actor)


@router.post("/{request_id}/release", status_code=status.HTTP_202_ACCEPTED)
def release(request_id: str, services: WithServices, actor: Asker) -> RequestView:
    """Send results that are in doubt and were held back, as their route says; 409 where none are.

    Whoever finds them wrong cancels the request instead: then they stay here.
    """
    return services.record.release(request_id, actor=actor)


@router.post("/{request_id}/cancel")
def cancel(request_id: str, services: WithServices, actor: Asker) -> RequestView:
    """End a request that has not ended; work on it stops at its next turn."""
    return services.record.cancel(request_id, actor=actor)
