"""Who may connect now: counts connections and associations, in all and by address.

It also decides which connection makes room for another.

One for all listener processes; it knows times and numbers and no sockets.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dicom_node.receive.limits import PeerLimits

logger = logging.getLogger(__name__)


@dataclass
class _Connection:
    """A connection: `since_s` it was opened or, with an association, that was granted."""

    address: str
    since_s: float
    association: str = ""  # its name while there is one
    used: bool = False  # to store
    echoed: bool = False
    ending: bool = False  # it makes room: its place is another's


class AdmissionControl:
    """Counts connections and associations and grants places. Every method is safe for threads.

    Connections are known by numbers that are never used twice.

    `end` is called, outside of any lock, for a connection that makes room.
    """

    def __init__(
        self,
        limits: PeerLimits,
        end: Callable[[int, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._end, self._clock = limits, end, clock
        self._lock = threading.Lock()
        self._connections: dict[int, _Connection] = {}
        self._last_number = 0

    @property
    def open_associations(self) -> int:
        """Associations that are established now."""
        with self._lock:
            return sum(1 for _ in self._associations())

    def admit(self, address: str) -> int | None:
        """A connection from `address`: its number, or None when it cannot be had.

        Where there are too many, the oldest that has not asked for an association makes room: one
        that means it asks at once.
        """
        with self._lock:
            ended = self._make_room_to_connect(address)
            if ended is None:
                return None
            self._last_number += 1
            number = self._last_number
            self._connections[number] = _Connection(address, self._clock())
        for other in ended:
            self._end(other, "too many connections that ask for nothing")
        return number

    def associate(self, number: int, name: str) -> bool:
        """Whether a connection may have an association, which is then open under `name`."""
        with self._lock:
            connection = self._connections.get(number)
            ended = self._make_room_to_associate(connection.address) if connection else None
            if connection is None or ended is None:
                return False
            for other in ended:
                self._connections[other].ending = True
            connection.association, connection.since_s = name, self._clock()
        for other in ended:
            self._end(other, "the place is wanted by a peer that stores")
        return True

    def echoed(self, number: int) -> None:
        """An association was used for C-ECHO."""
        with self._lock:
            if connection := self._connections.get(number):
                connection.echoed = True

    def used(self, number: int) -> None:
        """An association is used to store."""
        with self._lock:
            if connection := self._connections.get(number):
                connection.used = True

    def dissociate(self, number: int) -> str:
        """End the association of a connection: its name, empty where none is open."""
        with self._lock:
            connection = self._connections.get(number)
            if connection is None:
                return ""
            name, connection.association = connection.association, ""
            return name

    def leave(self, number: int) -> None:
        """A connection is closed."""
        with self._lock:
            self._connections.pop(number, None)

    def _associations(self, address: str | None = None) -> Iterable[tuple[int, _Connection]]:
        return (
            (number, connection)
            for number, connection in self._connections.items()
            if connection.association
            and not connection.ending
            and address in (None, connection.address)
        )

    def _make_room_to_connect(self, address: str) -> list[int] | None:
        """Connections that end so that one more may come; None if none can. The lock is held."""
        own = [n for n, c in self._connections.items() if c.address == address]
        for numbers, limit in (
            (own, self._limits.connections_per_address),
            (list(self._connections), self._limits.connections),
        ):
            if len(numbers) >= limit:
                silent = [n for n in numbers if not self._connections[n].association]
                if not silent:
                    return None
                del self._connections[silent[0]]  # in the order in which they came
                return [silent[0]]
        return []

    def _make_room_to_associate(self, address: str) -> list[int] | None:
        """Connections whose association ends so that `address` may have one; None if none can.

        The lock is held.
        """
        for associations, limit in (
            (list(self._associations(address)), self._limits.associations_per_address),
            (list(self._associations()), self._limits.associations),
        ):
            if len(associations) >= limit:
                unused = [(c.since_s, n) for n, c in associations if self._gives_way(c)]
                if not unused:
                    return None
                _, number = min(unused)
                return [number]
        return []

    def _gives_way(self, connection: _Connection) -> bool:
        """Whether an association has shown no use: C-ECHO alone, or nothing for a while."""
        if connection.used:
            return False
        return connection.echoed or self._clock() - connection.since_s >= self._limits.unused_s
