"""/destinations and /audit: the site around the node."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import AwareDatetime
from starlette.exceptions import HTTPException

from server.http.dependencies import Asker, WithPart, WithServices, WithSharedCalls
from server.http.described import problem_responses
from server.http.echoing import echo
from server.http.schemas import DestinationOut, EchoOut
from server.record.views import AuditView
from server.settings import DestinationSettings

router = APIRouter()


@router.get("/destinations", response_model=list[DestinationOut], tags=["destinations"])
async def list_destinations(services: WithServices) -> list[DestinationSettings]:
    """Where results can go, as configured."""
    return [site.settings for site in services.destinations]


@router.post(
    "/destinations/{name}/echo", tags=["destinations"], responses=problem_responses(429, 502)
)
async def echo_to(
    name: str, services: WithServices, shared_calls: WithSharedCalls, actor: Asker
) -> EchoOut:
    """C-ECHO to a destination; where it answers, what waits to be sent to it is tried at once.

    502 with the reason when it does not answer, 429 when too many are asked at once.
    """
    destinations = {site.settings.name: site for site in services.destinations}
    if name not in destinations:
        raise HTTPException(
            404, f"no destination of that name; configured: {', '.join(destinations) or 'none'}"
        )
    destination, waiting = destinations[name], services.waiting
    answer = await shared_calls.echoes.run(lambda: echo(destination, waiting, actor=actor))
    return EchoOut(
        destination=name, ok=True, seconds=round(answer.seconds, 3), tried_now=answer.tried_now
    )


@router.get("/audit", tags=["audit"])
def audit(
    services: WithServices, part: WithPart, since: AwareDatetime | None = None
) -> tuple[AuditView, ...]:
    """The audit trail, oldest first, from `since` (with its time zone) on."""
    moment = None if since is None else in_utc(since)
    return services.record.audit(limit=part.limit, offset=part.offset, since=moment)


def in_utc(moment: datetime) -> datetime:
    """The moment in UTC, else the first or last there is.

    PostgreSQL knows no offset beyond 15:59.

    >>> in_utc(datetime.fromisoformat("0001-01-01T00:00:00+23:59")).isoformat()
    '0001-01-01T00:00:00+00:00'
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        edge = datetime.min if moment.year == datetime.min.year else datetime.max
        return edge.replace(tzinfo=UTC)
