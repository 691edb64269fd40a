"""The guard in front of the API: bearer tokens (RFC 6750), checked before anything else."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.problems import UNAUTHORIZED, problem
from server.http.tokens import Tokens


class TokenGuard:
    """ASGI middleware: without a token only `open_paths` are served.

    The body of any other request is not even read.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, open_paths: frozenset[str]) -> None:
        self._app, self._tokens, self._open_paths = app, tokens, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        actor = self._tokens.actor(token.strip()) if scheme.lower() == "bearer" else None
        if actor is None:
            refusal = problem(
                scope,
                UNAUTHORIZED,
                "send 'Authorization: Bearer TOKEN'; a fresh node's token is in "
                "<storage.dir>/token",
                {"WWW-Authenticate": 'Bearer realm="segnode"'},
            )
            await refusal(scope, receive, send)
            return
        scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, send)
