"""Runs the API on its address until the process is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

GRACE_S = 5
"""How long answers under way may take after a stop; none but an echo takes longer."""


class _TellingServer(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Stop, and no more: raised again afterwards, the signal would end the process before its owner cleans up."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open for requests, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def serve(app: ASGIApp, host: str, port: int, on_ready: Callable[[], None]) -> None:
    """Answer on `host`:`port` until SIGTERM or SIGINT, then finish what is under way; `on_ready` is called once.

    Raises OSError when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=128) as listening:
        config = uvicorn.Config(
            app,
            log_config=None,  # the process has set up its logging
            access_log=False,  # who did what is in the audit trail
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        _TellingServer(config, on_ready).run(sockets=[listening])
