"""The Storage SCP: peers connect, instances go to the inbox, each request gets a named status.

Any storage SOP class and any transfer syntax is taken as it is proposed: what a peer may send is
decided association by association from what it asks for, so private classes and those newer than
any table of ours are kept too. Nothing is decoded here. Connections are accepted in one place,
which counts them, and served by receivers: in this process, or in several others.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from dicom_node.arrivals import Arrival
from dicom_node.ports import ArrivalObserver
from dicom_node.receive.admission import AdmissionControl
from dicom_node.receive.allowed import plain_address
from dicom_node.receive.application_entity import ApplicationEntity
from dicom_node.receive.inbox import Inbox
from dicom_node.receive.receiver import Receiver

logger = logging.getLogger(__name__)

_BACKLOG = 128  # of few the kernel turns peers away for a second when several come at once
_POLL_S = 1.0


class Receivers(Protocol):
    """Who serves the connections that were accepted."""

    def start(self) -> None:
        """Before the first connection."""

    def serve(self, connection: socket.socket, address: str, number: int) -> None:
        """Take a connection over, and close it at the end."""

    def end(self, number: int, why: str) -> None:
        """End a connection soon."""

    def moved_s(self) -> float:
        """When the receiver that is silent for longest last moved, by the monotonic clock.

        It is called about once a second.
        """

    def stop(self) -> None:
        """End everything, and return when that has happened."""


class ListenerRegistry:
    """Knows every connection: answers the receivers' questions and tells the observer.

    `observer` is told of every association and every stored instance before the peer has its
    answer; what it raises is logged and changes nothing.
    """

    def __init__(self, admission: AdmissionControl, observer: ArrivalObserver) -> None:
        self._admission, self._observer = admission, observer

    def associate(self, number: int, name: str) -> bool:
        """Whether a connection may have an association."""
        if not self._admission.associate(number, name):
            return False
        self._tell(self._observer.association_opened, name)
        return True

    def used(self, number: int, *, to_store: bool) -> None:
        """What an association is used for."""
        if to_store:
            self._admission.used(number)
        else:
            self._admission.echoed(number)

    def arrived(self, number: int, name: str, arrival: Arrival) -> None:  # noqa: ARG002 - as receivers tell it
        """An instance is on disk."""
        self._tell(self._observer.arrived, name, arrival)

    def dissociate(self, number: int) -> None:
        """The association of a connection has ended, if it had one."""
        if name := self._admission.dissociate(number):
            self._tell(self._observer.association_closed, name)

    def leave(self, number: int) -> None:
        """A connection is closed."""
        self.dissociate(number)
        self._admission.leave(number)

    def _tell(self, notify: Callable[..., None], *what: object) -> None:
        """Call the observer."""
        try:
            notify(*what)
        except Exception:  # the observer's boundary: its faults must cost no instance and no answer
            logger.exception("the observer of arrivals failed")


class Listener:
    """Accepts connections between `start` and `stop`; also a context manager.

    Peers must call us by `node`'s AE title. Port 0 takes a free one: `port` tells which.
    `receivers` makes the receivers that serve the connections, from the registry that they ask;
    without it this process serves them. `on_tick` is called by the loop that accepts connections,
    about once a second, with the moment of the monotonic clock at which all who serve had last
    moved: when that is long ago, or no call comes, somebody is not served.
    """

    def __init__(
        self,
        node: ApplicationEntity,
        host: str,
        port: int,
        inbox: Inbox,
        observer: ArrivalObserver,
        *,
        receivers: Callable[[ListenerRegistry], Receivers] | None = None,
        on_tick: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._on_tick = on_tick
        self._node, self._address, self._inbox = node, (host, port), inbox
        self._admission = AdmissionControl(node.limits, self._end)
        registry = ListenerRegistry(self._admission, observer)
        self._receivers = receivers(registry) if receivers else Receiver(node, inbox, registry)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def port(self) -> int:
        """The TCP port that is listened on; RuntimeError when it is not."""
        if self._socket is None:
            raise RuntimeError("the listener has not been started")
        return int(self._socket.getsockname()[1])

    @property
    def open_associations(self) -> int:
        """Associations that are established now."""
        return self._admission.open_associations

    def start(self) -> None:
        """Clear away what a crash left half-written and listen. OSError when the port is taken."""
        self._socket = _listening_socket(*self._address)
        try:
            self._inbox.sweep()
            self._receivers.start()
        except BaseException:
            self._socket.close()
            self._socket = None
            raise
        self._stopping.clear()
        self._thread = threading.Thread(target=self._accept_all, name="listener", daemon=True)
        self._thread.start()
        logger.info("listening as %s on port %d", self._node.ae_title, self.port)

    def stop(self) -> None:
        """Accept nothing more, abort what is open and return when every association has ended."""
        if self._socket is None or self._thread is None:
            return
        self._stopping.set()
        with suppress(OSError):  # where a listening socket cannot be shut down, the poll ends
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the wait of `accept`
        self._thread.join()
        self._socket.close()
        self._socket = None
        self._receivers.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _accept_all(self) -> None:
        listening = self._socket
        while listening is not None and not self._stopping.is_set():
            self._on_tick(self._receivers.moved_s())
            try:
                connection, place = listening.accept()
            except TimeoutError:
                continue
            except OSError:  # no descriptor left, or a peer that was gone at once
                if self._stopping.is_set():
                    return
                logger.exception("a connection could not be accepted")
                self._stopping.wait(_POLL_S)
                continue
            try:
                self._admit(connection, str(plain_address(place[0])))
            except Exception:  # one connection's boundary: the next must be accepted
                logger.exception("a connection could not be served")
                connection.close()

    def _admit(self, connection: socket.socket, address: str) -> None:
        number = self._admission.admit(address)
        if number is None:
            logger.warning("connection from %s closed: too many are open", address)
            connection.close()
            return
        self._receivers.serve(connection, address, number)

    def _end(self, number: int, why: str) -> None:
        self._receivers.end(number, why)


def _listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens; with `::` also for IPv4."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.settimeout(_POLL_S)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening
