"""The API put together: guard, routes, problems, description."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, FastAPI

from server.http import metrics
from server.http.auth import TokenGuard
from server.http.dependencies import TOKEN, SharedCalls
from server.http.described import problem_responses
from server.http.headers import AlwaysHeaders
from server.http.limits import BodyLimit
from server.http.ports import Services
from server.http.problems import handle_problems
from server.http.readiness import readiness
from server.http.routes import health, requests, site, studies
from server.http.tokens import Tokens
from server.http.waiting import Counter, Shared

PREFIX = "/api/v1"
LONGEST_BODY_BYTES = 4 * 2**20
"""Room for 10,000 targets, which are refused with a better word than "too long"."""
ECHOES_AT_ONCE = 8
"""C-ECHO by hand, each of which waits up to delivery.timeout_s for a destination that is silent."""
COMPLETIONS_AT_ONCE = 8
"""Studies held for whole by hand, of which every header is read that has not been."""
PICTURES_AT_ONCE = 4
"""Pictures of turns: one is drawn, the others wait for it."""

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
    app.state.shared_calls = SharedCalls(
        readiness=Shared(lambda: readiness(services), health.LIMIT_S),
        exposition=Shared(lambda: metrics.exposition(services), metrics.LIMIT_S),
        echoes=Counter(
            ECHOES_AT_ONCE, f"{ECHOES_AT_ONCE} destinations are being asked at once: try again"
        ),
        completions=Counter(
            COMPLETIONS_AT_ONCE, f"{COMPLETIONS_AT_ONCE} studies are being completed: try again"
        ),
        pictures=Counter(
            PICTURES_AT_ONCE, f"{PICTURES_AT_ONCE} pictures are being drawn: try again"
        ),
    )
    app.add_middleware(BodyLimit, longest_bytes=LONGEST_BODY_BYTES)
    # of those added, the last comes first
    app.add_middleware(TokenGuard, tokens=tokens, open_paths=OPEN_PATHS)
    app.add_middleware(AlwaysHeaders)
    handle_problems(app)
    guarded = APIRouter(
        prefix=PREFIX,
        dependencies=[TOKEN],
        responses=problem_responses(401, 404, 409, 422, 500, 503),
    )
    for routes in (requests, studies, site):
        guarded.include_router(routes.router)
    app.include_router(guarded)
    for routes in (health, metrics):
        app.include_router(routes.router, prefix=PREFIX)
        # orchestrators and Prometheus look at the root first
        app.include_router(routes.router, include_in_schema=False)
    return app
