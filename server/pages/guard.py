"""The guard in front of the pages: a login, and forms from our own pages only."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import RedirectResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.pages.login import COOKIE, Logins, from_our_page
from server.pages.rendering import html

OPEN_PREFIXES = ("/login", "/static/")


class PageGuard:
    """ASGI middleware: who is not logged in is led to the login, and sees nothing else."""

    def __init__(self, app: ASGIApp, logins: Logins) -> None:
        self._app, self._logins = app, logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 303, 401 or 403."""
        if scope["method"] not in ("GET", "HEAD") and not from_our_page(scope):
            answer: ASGIApp = html(
                Request(scope),
                "fault.html",
                403,
                title="Not from a page of this node",
                sentence="This was not sent by a page of this node, so nothing was done. Open the "
                "page here and try again; a proxy in front of the node must pass on the Host "
                "header as the browser sends it.",
            )
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})["actor"] = self._logins.actor(_cookie(scope))
        if scope["state"]["actor"] is None and not scope["path"].startswith(OPEN_PREFIXES):
            await _to_login(scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _cookie(scope: Scope) -> str:
    cookies = SimpleCookie()
    try:
        cookies.load(Headers(scope=scope).get("cookie", ""))
    except CookieError:
        return ""
    return cookies[COOKIE].value if COOKIE in cookies else ""


def _to_login(scope: Scope) -> ASGIApp:
    if scope["method"] in ("GET", "HEAD"):
        query = scope["query_string"].decode("latin-1")
        place = quote(scope["path"]) + (f"?{query}" if query else "")
        return RedirectResponse(
            f"/login?next={quote(place, safe='')}" if place != "/" else "/login", 303
        )
    return html(
        Request(scope),
        "fault.html",
        401,
        title="Not logged in",
        sentence="Your login has ended, so nothing was done: log in and try again.",
    )
