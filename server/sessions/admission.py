"""No more calls at once than the process can hold in memory: the others are asked to come back."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from server.http.problems import NOT_READY, RETRY_AFTER_S, problem


class Admission:
    """ASGI middleware: 503 with Retry-After beyond `most` calls at once; `free_paths` are always let through."""

    def __init__(self, app: ASGIApp, most: int, free_paths: Collection[str]) -> None:
        self._app, self._most, self._free_paths = app, most, free_paths
        self._inside = 0  # changed on the event loop alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, or answer 503 before its body is read."""
        if scope["type"] != "http" or scope["path"] in self._free_paths:
            await self._app(scope, receive, send)
            return
        if self._inside >= self._most:
            told = f"{self._most} calls are being worked on: try again"
            busy = problem(scope, NOT_READY, told, {"Retry-After": str(RETRY_AFTER_S)})
            await busy(scope, receive, send)
            return
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
