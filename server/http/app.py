"""The API put together: guard, routes, problems, description."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI

from server.http import health, metrics, routes_requests, routes_site, routes_studies
from server.http.auth import TokenGuard
from server.http.dependencies import TOKEN, Watch
from server.http.limits import BodyLimit
from server.http.ports import Services
from server.http.problems import MEDIA_TYPE, handle_problems
from server.http.readiness import readiness
from server.http.schemas import ProblemOut
from server.http.waiting import Counter, Shared
from server.tokens import Tokens

PREFIX = "/api/v1"
LONGEST_BODY_BYTES = 4 * 2**20
"""Room for 10,000 targets, which are refused with a better word than "too long"."""
ECHOES_AT_ONCE = 8
"""C-ECHO by hand, each of which waits up to delivery.timeout_s for a destination that is silent."""

OPEN_PATHS = frozenset(
    {f"{PREFIX}/openapi.json"}
    | {at + path for at in ("", PREFIX) for path in ("/health/live", "/health/ready", "/metrics")}
)


def create_app(services: Services, tokens: Tokens) -> FastAPI:
    """The API over `services`, opened by `tokens`. An ASGI application; starts nothing."""
    app = FastAPI(
        title="Segnode",
        version=version("segnode"),
        description="A DICOM node that segments on request.",
        openapi_url=f"{PREFIX}/openapi.json",
        # their pages would load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.watch = Watch(
        readiness=Shared(lambda: readiness(services), health.LIMIT_S),
        exposition=Shared(lambda: metrics.exposition(services), metrics.LIMIT_S),
        echoes=Counter(
            ECHOES_AT_ONCE, f"{ECHOES_AT_ONCE} destinations are being asked at once: try again"
        ),
    )
    app.add_middleware(BodyLimit, longest_bytes=LONGEST_BODY_BYTES)
    # added last, it comes first
    app.add_middleware(TokenGuard, tokens=tokens, open_paths=OPEN_PATHS)
    handle_problems(app)
    guarded = APIRouter(
        prefix=PREFIX, dependencies=[TOKEN], responses=problem_responses(401, 404, 409, 422, 503)
    )
    for routes in (routes_requests, routes_studies, routes_site):
        guarded.include_router(routes.router)
    app.include_router(guarded)
    for routes in (health, metrics):
        app.include_router(routes.router, prefix=PREFIX)
        # orchestrators and Prometheus look at the root first
        app.include_router(routes.router, include_in_schema=False)
    return app


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the description of the API says of answers with these statuses."""
    schema = {"schema": {"$ref": f"#/components/schemas/{ProblemOut.__name__}"}}
    return {
        status: {
            "model": ProblemOut,
            "content": {MEDIA_TYPE: schema},
            "description": "Problem details",
        }
        for status in statuses
    }
