"""What the listener and a receiver's process exchange.

Messages are lines of JSON over a socket pair, with connections attached.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

_READ_BYTES = 1 << 16
_MOST_ATTACHED = 64
Message = Mapping[str, Any]


class Channel:
    """One end. Any thread may send; one receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._lock = threading.Lock()
        self._attached: deque[int] = deque()

    def send(self, message: Message, connection: socket.socket | None = None) -> None:
        """Send a message, with a connection if one is given.

        OSError when the other end is gone or does not read.
        """
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            sent = socket.send_fds(self._socket, [line], [connection.fileno()]) if connection else 0
            self._socket.sendall(line[sent:])

    def messages(self) -> Iterator[Message]:
        """Messages as they come, until the other end is gone."""
        unread = b""
        while True:
            try:
                data, attached, _, _ = socket.recv_fds(self._socket, _READ_BYTES, _MOST_ATTACHED)
            except OSError:
                return
            if not data:
                return
            self._attached += attached  # in the order in which their messages come
            *lines, unread = (unread + data).split(b"\n")
            yield from map(json.loads, lines)

    def connection(self) -> socket.socket:
        """The connection that came with the message which is being looked at."""
        return socket.socket(fileno=self._attached.popleft())

    def close(self) -> None:
        """No more; the other end hears it."""
        with suppress(OSError):  # the other end was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
