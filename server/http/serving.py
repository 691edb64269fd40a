"""Runs the API on its address until the process is told to stop."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from server.http.connections import BoundedProtocol, ConnectionLimits, Connections

GRACE_S = 5
"""How long answers under way may take after a stop; few take longer."""


class _AnnouncingServer(uvicorn.Server):
    """A server that says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Stop, without raising the signal again: it would end the process before its clean-up."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open for requests, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def bounded(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """Uvicorn's protocol within `limits`, for one server."""
    # uvicorn asks for a class and calls it with keywords
    protocol = functools.partial(BoundedProtocol, connections=Connections(limits))
    return cast("type[asyncio.Protocol]", protocol)


def serve(
    app: ASGIApp,
    host: str,
    port: int,
    on_ready: Callable[[], None],
    limits: ConnectionLimits | None = None,
) -> None:
    """Answer on `host`:`port` until SIGTERM or SIGINT, then finish what is under way.

    `on_ready` is called once.

    Raises OSError when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=128) as listening:
        config = uvicorn.Config(
            app,
            http=bounded(limits or ConnectionLimits()),
            log_config=None,  # the process has set up its logging
            access_log=False,  # who did what is in the audit trail
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
        )
        _AnnouncingServer(config, on_ready).run(sockets=[listening])
