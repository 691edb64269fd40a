"""pynetdicom's TCP server, hardened through the hooks that it and `socketserver` offer.

What it does by itself: waits for ever in the middle of a PDU, keeps a thread for each connection that closed without a word,
leaves the socket of a peer that hung up first to the garbage collector, and takes any number of connections before the
association limit is looked at.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from pynetdicom import evt, transport

logger = logging.getLogger(__name__)

_POLL_S = 0.25
_FAREWELL_S = 1.0  # what peers get to take note of our abort
_END_S = 10.0


class _Connection(socket.socket):
    """A socket that can be shut down twice: pynetdicom closes it only if shutting it down succeeded."""

    def shutdown(self, how: int) -> None:
        """Shut down, whether or not the peer has hung up."""
        try:
            super().shutdown(how)
        except OSError as error:
            logger.debug("the peer had hung up: %s", error)


class AssociationServer(transport.AssociationServer):
    """Runs in a thread of its own between `start` and `stop`; each association then has its own.

    `stall_timeout_s` bounds every read and write on a connection, `most_connections` how many there may be, with or without
    an association; `on_tick` is called a few times a second and before every new connection is served.
    """

    request_queue_size = (
        128  # of 5 the kernel turns peers away for a second when several come at once
    )

    def __init__(
        self,
        *arguments: Any,
        stall_timeout_s: float,
        most_connections: int,
        on_tick: Callable[[], None],
        **options: Any,
    ) -> None:
        self._stall_timeout_s, self._most_connections = stall_timeout_s, most_connections
        self._on_tick = on_tick
        super().__init__(*arguments, **options)
        self.bind(evt.EVT_CONN_OPEN, _quieten)
        self.bind(evt.EVT_CONN_CLOSE, _wake)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_S,), name="listener", daemon=True
        )

    def start(self) -> None:
        """Serve until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port, abort every association and wait for their threads."""
        BaseServer.shutdown(self)  # pynetdicom's own expects to be in a list that only it fills
        self.server_close()
        self._thread.join()
        associations = self.active_associations
        for association in associations:
            if association.is_established:
                association.abort(block=False)
            else:  # there is nothing to abort yet (PS3.8 9.2, state 2)
                _hang_up(association)
        _join(associations, _FAREWELL_S)
        for association in self.active_associations:
            _hang_up(association)
        _join(associations, _END_S)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection on which no read or write waits for ever."""
        accepted, address = super().get_request()
        connection = _Connection(fileno=accepted.detach())
        connection.settimeout(self._stall_timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002  # socketserver's hook
        """Hang up at once where connections that ask for nothing have become too many."""
        if len(self.active_associations) < self._most_connections:
            return True
        logger.warning(
            "connection from %s closed: %d are open", client_address[0], self._most_connections
        )
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # socketserver's hook
        """A connection that could not even be begun is closed by `socketserver`; here it is only told of."""
        logger.exception("the connection from %s could not be served", client_address[0])

    def service_actions(self) -> None:
        """Between two connections."""
        super().service_actions()
        self._on_tick()


def _quieten(event: Any) -> None:
    """Take away the handlers that describe every PDU to a log nobody reads: they cost throughput."""
    for kind in (evt.EVT_PDU_RECV, evt.EVT_PDU_SENT, evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT):
        for handler, _ in list(event.assoc.get_handlers(kind)):
            event.assoc.unbind(kind, handler)


def _wake(event: Any) -> None:
    """End the thread of a connection that closed before it asked for an association; it would wait out its time."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _hang_up(association: Any) -> None:
    """Close a connection that is in the middle of something."""
    wrapper = association.dul.socket
    connection = wrapper.socket if wrapper is not None else None
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)


def _join(threads: list[Any], seconds: float) -> None:
    """Wait for threads to end, no longer than `seconds` for all of them."""
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
