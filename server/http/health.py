"""/health: is the process alive, and can it work?"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from server.errors import RecordUnavailable
from server.http.dependencies import WithServices
from server.http.ports import Services
from server.http.problems import NOT_READY, RETRY_AFTER_S, problem

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
def live() -> dict[str, str]:
    """The process answers; restart it when this does not."""
    return {"status": "live"}


@router.get("/ready", response_model=None, responses={200: {"model": dict[str, str]}})
def ready(request: Request, services: WithServices) -> JSONResponse:
    """Database and disk allow work; 503 with the reason when they do not."""
    faults = {name: fault for name, check in CHECKS.items() if (fault := check(services))}
    told = {name: faults.get(name, "ok") for name in CHECKS}
    if faults:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return problem(request.scope, NOT_READY, "; ".join(faults.values()), headers, checks=told)
    return JSONResponse({"status": "ready", **told})


def free_bytes(services: Services) -> int:
    """Free space where studies and results are kept; 0 when that cannot be asked."""
    try:
        return shutil.disk_usage(services.storage).free
    except OSError:
        return 0


def _database_fault(services: Services) -> str | None:
    try:
        services.counting.ping()
    except RecordUnavailable as error:
        return str(error)
    return None


def _storage_fault(services: Services) -> str | None:
    free = free_bytes(services)
    if free >= services.minimum_free_bytes:
        return None
    return (
        f"{free} bytes are free in storage.dir, less than storage.minimum_free_bytes "
        f"({services.minimum_free_bytes}): make room"
    )


CHECKS: dict[str, Callable[[Services], str | None]] = {
    "database": _database_fault,
    "storage": _storage_fault,
}
