"""/studies: what has arrived, and the word that nothing more will come."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from server.http.dependencies import (
    Asker,
    WithPage,
    WithServices,
    WithSharedCalls,
    linked,
    one_more,
)
from server.http.described import problem_responses
from server.http.schemas import StudyWholeOut
from server.record.views import StudyRouting, StudySummary, StudyView

router = APIRouter(prefix="/studies", tags=["studies"])


@router.get("")
def list_studies(
    request: Request,
    response: Response,
    services: WithServices,
    page: WithPage,
    unrouted: Annotated[
        bool | None, Query(description="true: those that no route matched; false: the others")
    ] = None,
) -> tuple[StudySummary, ...]:
    """Studies, in the order in which they were first heard of.

    The next page is in the Link header.
    """
    rows = services.record.studies(one_more(page), unrouted=unrouted)
    return linked(request, response, page, rows)


@router.get("/{study_instance_uid}")
def show(study_instance_uid: str, services: WithServices) -> StudyWholeOut:
    """One study: its series, the times it was complete, content kept apart."""
    return _whole(services.record.study(study_instance_uid))


@router.post("/{study_instance_uid}/complete", responses=problem_responses(429, 507))
async def complete(
    study_instance_uid: str, services: WithServices, shared_calls: WithSharedCalls, actor: Asker
) -> StudyWholeOut:
    """Hold the study for whole now, without waiting for its quiet time.

    429 when too many are being read at once.
    """
    return _whole(
        await shared_calls.completions.run(
            lambda: services.record.complete(study_instance_uid, actor=actor)
        )
    )


@router.post("/{study_instance_uid}/route")
def route(study_instance_uid: str, services: WithServices, actor: Asker) -> StudyRouting:
    """Apply the present routes to a complete study that is here, as if it arrived now.

    What was asked of this version before is not asked again.
    """
    return services.record.route(study_instance_uid, actor=actor)


def _whole(view: StudyView) -> StudyWholeOut:
    summary = view.summary
    return StudyWholeOut(
        study_instance_uid=summary.study_instance_uid,
        state=summary.state,
        version=summary.version,
        instances=summary.instances,
        requests=summary.requests,
        fault=summary.fault,
        unrouted=summary.unrouted,
        unrouted_reason=summary.unrouted_reason,
        created_at=summary.created_at,
        updated_at=summary.updated_at,
        series=view.series,
        versions=view.versions,
        conflicts=view.conflicts,
        faulty=view.faulty,
    )
