"""Runs the API on its address until the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
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

TICK_S = 1.0
"""Between two settings of the Date that answers carry; uvicorn's own loop wakes ten times as often,
which is most of what an idle API takes.
"""


class _QuietServer(uvicorn.Server):
    """A server that says when it answers, and sleeps while nobody asks."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._stopping: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as uvicorn calls it
        """Stop, without raising the signal again: it would end the process before its clean-up."""
        self.should_exit = True
        if self._stopping is not None:
            loop, event = self._stopping
            loop.call_soon_threadsafe(event.set)

    async def main_loop(self) -> None:
        """Wait for the stop, which ends a sleep at once."""
        event = asyncio.Event()
        self._stopping = asyncio.get_running_loop(), event
        while not await self.on_tick(0):  # uvicorn sets the Date at each tenth tick, and at 0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), TICK_S)

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
        _QuietServer(config, on_ready).run(sockets=[listening])
