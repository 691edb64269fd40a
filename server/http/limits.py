"""No body is read beyond a limit, whatever its Content-Length claims."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: 413, as a problem, for a body longer than `longest_bytes`."""

    def __init__(self, app: ASGIApp, longest_bytes: int) -> None:
        self._app, self._longest_bytes = app, longest_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body counted."""
        left = self._longest_bytes

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"the body is longer than {self._longest_bytes} bytes")
            return message

        await self._app(scope, counted, send)
