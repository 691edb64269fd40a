"""No more calls, and bodies of them, than fit into memory; the others shall come back."""

from __future__ import annotations

from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http.problems import NOT_READY, RETRY_AFTER_S, problem
from server.interactive.memory import MemoryAccount

_TIMES_A_BODY = 3
"""A body is there as bytes, as text, and as what its base64 stands for."""


class Admission:
    """ASGI middleware: 503 with Retry-After beyond `most` calls or without memory for a body.

    `free_paths` are always let through.
    """

    def __init__(
        self, app: ASGIApp, most: int, account: MemoryAccount, free_paths: Collection[str]
    ) -> None:
        self._app, self._most, self._free_paths = app, most, free_paths
        self._account = account
        self._inside = 0  # changed on the event loop alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, or answer 503 before its body is read."""
        if scope["type"] != "http" or scope["path"] in self._free_paths:
            await self._app(scope, receive, send)
            return
        if self._inside >= self._most:
            detail = f"{self._most} calls are being worked on: try again"
            busy = problem(scope, NOT_READY, detail, {"Retry-After": str(RETRY_AFTER_S)})
            await busy(scope, receive, send)
            return
        taken_bytes = 0

        async def counted() -> Message:
            nonlocal taken_bytes
            message = await receive()
            wanted_bytes = _TIMES_A_BODY * len(message.get("body", b""))
            if not self._account.take(wanted_bytes):
                raise HTTPException(
                    503,
                    "there is no memory for this body now: try again",
                    {"Retry-After": str(RETRY_AFTER_S)},
                )
            taken_bytes += wanted_bytes
            return message

        self._inside += 1
        try:
            await self._app(scope, counted, send)
        finally:
            self._inside -= 1
            self._account.give(taken_bytes)
