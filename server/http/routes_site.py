"""/destinations and /audit: the site around the node."""

from __future__ import annotations

import time

from fastapi import APIRouter
from pydantic import AwareDatetime
from starlette.exceptions import HTTPException

from server.http.dependencies import WithPage, WithServices, WithWatch
from server.http.schemas import AuditOut, DestinationOut, EchoOut
from server.record.views import AuditView
from server.settings import DestinationSettings

router = APIRouter()


@router.get("/destinations", response_model=list[DestinationOut], tags=["destinations"])
async def list_destinations(services: WithServices) -> list[DestinationSettings]:
    """Where results can go, as configured."""
    return [each.settings for each in services.destinations]


@router.post("/destinations/{name}/echo", tags=["destinations"])
async def echo(name: str, services: WithServices, watch: WithWatch) -> EchoOut:
    """C-ECHO to a destination; 502 with the reason when it does not answer, 429 when too many are asked at once."""
    known = {each.settings.name: each.destination for each in services.destinations}
    if name not in known:
        raise HTTPException(
            404, f"no destination of that name; configured: {', '.join(known) or 'none'}"
        )
    began = time.perf_counter()
    await watch.echoes.run(known[name].echo)
    return EchoOut(destination=name, ok=True, seconds=round(time.perf_counter() - began, 3))


@router.get("/audit", response_model=list[AuditOut], tags=["audit"])
def audit(
    services: WithServices, page: WithPage, since: AwareDatetime | None = None
) -> tuple[AuditView, ...]:
    """The audit trail, oldest first, from `since` (with its time zone) on."""
    return services.record.audit(limit=page.limit, offset=page.offset, since=since)
