"""/health: is the process alive, and can the node work?

Neither waits for a thread that other handlers use.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from server.http.dependencies import WithSharedCalls
from server.http.described import problem_responses
from server.http.problems import NOT_READY, RETRY_AFTER_S, problem
from server.http.readiness import Readiness
from server.http.schemas import LiveOut, PartOut, ReadyOut

router = APIRouter(prefix="/health", tags=["health"])

LIMIT_S = 8.0
"""How long the database may take; longer than it takes to find that nobody answers at its
address.
"""


@router.get("/live")
async def live() -> LiveOut:
    """The process answers; restart it when this does not."""
    return LiveOut(status="live")


@router.get("/ready", response_model=ReadyOut, responses=problem_responses(503))
async def ready(request: Request, shared_calls: WithSharedCalls) -> JSONResponse:
    """Listener, intake, worker, database and disk do their work.

    503 with the reason when one of them does not.
    """
    try:
        state = await shared_calls.readiness.get()
    except TimeoutError:
        state = Readiness({"database": f"PostgreSQL has not answered within {LIMIT_S:.0f} s"})
    parts = [PartOut.model_validate(part).model_dump(mode="json") for part in state.parts]
    if state.faults:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        detail = "; ".join(state.faults)
        return problem(request.scope, NOT_READY, detail, headers, checks=state.checks, parts=parts)
    return JSONResponse({"status": "ready", "checks": state.checks, "parts": parts})
