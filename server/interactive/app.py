"""The segmentation API put together: guard, admission, routes, problems, description."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, FastAPI

from server.http.auth import TokenGuard
from server.http.dependencies import TOKEN
from server.http.described import problem_responses
from server.http.headers import AlwaysHeaders
from server.http.limits import BodyLimit
from server.http.problems import handle_problems
from server.http.tokens import Tokens
from server.http.waiting import Counter
from server.interactive import routes
from server.interactive.admission import Admission
from server.interactive.service import Service

PREFIX = "/api/v1/segmentation"
OPEN_PATHS = frozenset({f"{PREFIX}/openapi.json", f"{PREFIX}/health"})

WAITING_FOR_A_SEGMENTER = 16
"""Calls that wait for a segmenter to be loaded; of all that may be in flight, most are left to
those that are there.
"""


def create_app(service: Service, tokens: Tokens) -> FastAPI:
    """The API over `service`, opened by `tokens`. An ASGI application; starts nothing."""
    app = FastAPI(
        title="Segnode segmentation",
        version=version("segnode"),
        description="An image, boxes and clicks in, masks out: "
        "one image is encoded once, many sessions at a time.",
        openapi_url=f"{PREFIX}/openapi.json",
        # their pages would load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.loading = Counter(
        WAITING_FOR_A_SEGMENTER, "the segmenter is being loaded for others: try again"
    )
    app.add_middleware(BodyLimit, longest_bytes=service.bounds.longest_body_bytes)
    app.add_middleware(
        Admission,
        most=service.bounds.in_flight,
        account=service.account,
        free_paths=OPEN_PATHS,
    )
    # of those added, the last comes first
    app.add_middleware(TokenGuard, tokens=tokens, open_paths=OPEN_PATHS)
    app.add_middleware(AlwaysHeaders)
    handle_problems(app)
    guarded = APIRouter(
        prefix=PREFIX,
        dependencies=[TOKEN],
        responses=problem_responses(401, 404, 409, 413, 422, 429, 500, 503),
    )
    guarded.include_router(routes.sessions)
    guarded.include_router(routes.single)
    app.include_router(guarded)
    app.include_router(routes.open_to_all, prefix=PREFIX)
    return app
