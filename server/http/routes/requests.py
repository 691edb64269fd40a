"""/requests: ask, look, follow, try again, give up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from server.http.dependencies import Asker, WithPage, WithServices, linked, one_more
from server.http.described import problem_responses
from server.http.schemas import RequestIn, Uid
from server.record.views import RequestSummary, RequestView, Submitted, TurnView
from server.values import RequestState

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


@router.post("/{request_id}/retry", status_code=status.HTTP_202_ACCEPTED)
def retry(request_id: str, services: WithServices, actor: Asker) -> RequestView:
    """Begin a FAILED request again from what failed; results that were written are only sent."""
    return services.record.retry(request_id, actor=actor)


@router.post("/{request_id}/cancel")
def cancel(request_id: str, services: WithServices, actor: Asker) -> RequestView:
    """End a request that has not ended; work on it stops at its next turn."""
    return services.record.cancel(request_id, actor=actor)
