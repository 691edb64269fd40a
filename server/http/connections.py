"""Bounds that uvicorn lacks: time for a request, and connections for a peer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.http.headers import ALWAYS

logger = logging.getLogger(__name__)

_FAREWELL_S = 1.0
"""What a peer gets to take note of our last word."""
_MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class ConnectionLimits:
    """`connections` in all and `per_address`.

    `head_s` from the first moment to the end of a request's headers.

    A body may take `body_s`, and more as long as `body_bytes_per_s` arrive on average; an answer
    that is not taken for `write_s` is given up.
    """

    connections: int = 512
    per_address: int = 256
    head_s: float = 10.0
    body_s: float = 30.0
    body_bytes_per_s: float = 50_000.0
    write_s: float = 60.0


class Connections:
    """The open connections of one server, by address. Changed on the event loop alone."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count one more connection of `address`; False where there may be no more."""
        limits = self.limits
        if self._by_address.total() >= limits.connections:
            return False
        if self._by_address[address] >= limits.per_address:
            return False
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """One that had entered has ended."""
        self._by_address[address] -= 1
        self._by_address += Counter()  # drops what has come to nothing


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 on one connection, with a deadline for the peer's next step."""

    def __init__(self, *arguments: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connections = connections
        self._entered: str | None = None
        self._phase: str | None = None
        self._phase_began_s = 0.0
        self._body_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A peer connects: it has its deadline, or its refusal, from now on."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if self._connections.enter(address):
            self._entered = address
            self._begin("head")
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections: close some")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, however."""
        self._begin(None)
        self._unset_write_deadline()
        if self._entered is not None:
            self._connections.leave(self._entered)
            self._entered = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The peer sends something; what was refused is read no more."""
        if self.transport.is_closing():
            return
        self._body_bytes += len(data)
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """An answer is on its way, and the next request may be in the buffer already."""
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        """The peer does not take what it is sent."""
        super().pause_writing()
        write_s = self._connections.limits.write_s
        self._write_deadline = self.loop.call_later(write_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        self._unset_write_deadline()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _follow(self) -> None:
        """Give the peer the deadline of what it has to do now."""
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._begin("body")
        elif state is h11.IDLE and (self.cycle is None or self.conn.trailing_data[0]):
            self._begin("head")
        else:
            self._begin(None)  # it is our turn; between requests uvicorn itself hangs up

    def _begin(self, phase: str | None) -> None:
        if phase == self._phase:
            return
        self._phase, self._phase_began_s, self._body_bytes = phase, self.loop.time(), 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        limits = self._connections.limits
        if phase is not None:
            seconds = limits.head_s if phase == "head" else limits.body_s
            self._deadline = self.loop.call_later(seconds, self._on_deadline)

    def _on_deadline(self) -> None:
        limits = self._connections.limits
        if self._phase == "body":
            if self.flow.read_paused:  # it is we who do not read
                self._phase_began_s, self._body_bytes = self.loop.time(), 0
            allowed_s = limits.body_s + self._body_bytes / limits.body_bytes_per_s
            left_s = self._phase_began_s + allowed_s - self.loop.time()
            if left_s > 0:
                self._deadline = self.loop.call_later(left_s, self._on_deadline)
                return
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the {self._phase} of the request took too long")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Say why, where nothing has been said yet, and hang up."""
        peer = self._entered or (self.client[0] if self.client else "")
        logger.debug("%s: %d, %s", peer, status, detail)
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_last_word(status, detail))
        if self.cycle is not None:
            self.cycle.disconnected = True  # so that whoever works on it says no more
            self.cycle.message_event.set()
        self._begin(None)
        self.transport.close()
        self.loop.call_later(_FAREWELL_S, self.transport.abort)

    def _unset_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None


def _last_word(status: HTTPStatus, detail: str) -> bytes:
    """A whole answer, as a problem (RFC 9457), after which the connection ends."""
    body = json.dumps(
        {
            "type": f"urn:segnode:problem:{status.phrase.lower().replace(' ', '-')}",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "instance": "",
        }
    ).encode("ascii")
    headers = {
        "Content-Type": _MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **ALWAYS,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{head}\r\n".encode("ascii") + body
