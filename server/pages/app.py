"""The pages put together, and set beside the API."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.limits import BodyLimit
from server.http.waiting import Counter
from server.pages.dependencies import PageCalls
from server.pages.faults import handle_faults
from server.pages.forms import LONGEST_FORM_BYTES
from server.pages.guard import PageGuard
from server.pages.headers import PageHeaders
from server.pages.login import Logins
from server.pages.ports import PageServices
from server.pages.routes import entry, files, requests, site, story, studies

API_ROOTS = frozenset({"api", "health", "metrics", "dicomweb"})
"""First parts of the paths that programs ask for; all others are pages."""
CALLS_AT_ONCE = 4
"""Destinations asked, pictures drawn and studies completed by pages at once, of each kind."""


def create_pages(pages: PageServices) -> FastAPI:
    """The pages alone. An ASGI application; starts nothing."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    logins = Logins(pages.tokens)
    app.state.pages = pages
    app.state.logins = logins
    app.state.calls = PageCalls(
        echoes=_counter("destinations are being asked"),
        pictures=_counter("pictures are being drawn"),
        completions=_counter("studies are being completed"),
    )
    app.add_middleware(BodyLimit, longest_bytes=LONGEST_FORM_BYTES)
    # of those added, the last comes first
    app.add_middleware(PageGuard, logins=logins)
    app.add_middleware(PageHeaders)
    handle_faults(app)
    for routes in (entry, files, requests, story, studies, site):
        app.include_router(routes.router)
    return app


def _counter(what: str) -> Counter:
    return Counter(CALLS_AT_ONCE, f"{CALLS_AT_ONCE} {what} already: try again in a moment")


@dataclass(frozen=True)
class ApiAndPages:
    """ASGI application: what programs ask for goes to `api`, the rest to `pages`."""

    api: ASGIApp
    pages: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        root = scope.get("path", "").split("/")[1:2]
        of_api = scope["type"] != "http" or (root and root[0] in API_ROOTS)
        await (self.api if of_api else self.pages)(scope, receive, send)
