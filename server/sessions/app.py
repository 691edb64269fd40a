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
from server.sessions import routes
from server.sessions.admission import Admission
from server.sessions.service import Service
from server.tokens import Tokens

PREFIX = "/api/v1/segmentation"
OPEN_PATHS = frozenset({f"{PREFIX}/openapi.json", f"{PREFIX}/health"})


def create_app(service: Service, tokens: Tokens) -> FastAPI:
    """The API over `service`, opened by `tokens`. An ASGI application; starts nothing."""
    app = FastAPI(
        title="Segnode segmentation",
        version=version("segnode"),
        description="An image, boxes and clicks in, masks out: one image is encoded once, many sessions at a time.",
        openapi_url=f"{PREFIX}/openapi.json",
        # their pages would load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_middleware(BodyLimit, longest_bytes=service.bounds.longest_body_bytes)
    app.add_middleware(Admission, most=service.bounds.in_flight, free_paths=OPEN_PATHS)
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
