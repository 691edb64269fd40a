"""A connection as bytes with deadlines: no call waits longer; the buffer is one page."""

from __future__ import annotations

import socket
import struct
import time

from dicom_node.receive.errors import EndedByUs, PeerLost, PeerSilent

_BUFFER_BYTES = 1 << 12
_FAREWELL_S = 1.0  # what peers get to take note of our last words
_FAREWELL_BYTES = 1 << 20
_SHORTEST_TICK_S, _LONGEST_TICK_S = 0.05, 1.0


class Wire:
    """The bytes of one connection, for one thread; only `end` may be called from others.

    Every read and write raises PeerSilent once `deadline_s` (of time.monotonic) has passed,
    PeerLost when the peer is gone and EndedByUs after `end`. `send_timeout_s` bounds each write.
    """

    def __init__(self, connection: socket.socket, send_timeout_s: float, tick_s: float) -> None:
        self.socket = connection
        self.deadline_s = 0.0
        self._why_ended = ""
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._start = self._stop = 0
        # a blocking socket with a time-out of the kernel's needs one call a read; Python's own
        # would need two
        connection.settimeout(None)
        tick_s = min(max(tick_s, _SHORTEST_TICK_S), _LONGEST_TICK_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(tick_s))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(send_timeout_s))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def give(self, seconds: float) -> None:
        """Put the deadline `seconds` from now."""
        self.deadline_s = time.monotonic() + seconds

    def wait(self) -> None:
        """Until the peer has said something more."""
        while self._start == self._stop:
            self._start = 0
            self._stop = self._receive(self._buffer, 0)

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        if self._stop - self._start >= count:
            self._start += count
            return bytes(self._buffer[self._start - count : self._start])
        content = bytearray(count)
        self.read_into(memoryview(content))
        return bytes(content)

    def read_into(self, view: memoryview) -> None:
        """Fill `view`. Long ones are read past the buffer, short ones through it."""
        filled = min(len(view), self._stop - self._start)
        view[:filled] = self._buffer[self._start : self._start + filled]
        self._start += filled
        while filled < len(view):
            if len(view) - filled >= _BUFFER_BYTES:
                filled += self._receive(view[filled:], socket.MSG_WAITALL)
            else:
                self.wait()
                more = min(len(view) - filled, self._stop - self._start)
                view[filled : filled + more] = self._buffer[self._start : self._start + more]
                self._start += more
                filled += more

    def skip(self, count: int) -> None:
        """Read `count` bytes and forget them."""
        while count:
            self.wait()
            skipped = min(count, self._stop - self._start)
            self._start += skipped
            count -= skipped

    def has_rest(self) -> bool:
        """Whether something has been read that was not taken."""
        return self._start < self._stop

    def send(self, data: bytes) -> None:
        """Send everything."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise self._lost() from error

    def end(self, why: str) -> None:
        """Wake the thread that reads, with EndedByUs; what it still writes can be sent."""
        self._why_ended = why
        self._shut(socket.SHUT_RD)

    def hang_up(self, last_words: bytes = b"") -> None:
        """Close, after `last_words` if any.

        What the peer sends meanwhile is read, because a reset would cost it our last words.
        """
        try:
            if last_words:
                self.socket.sendall(last_words)
                self._shut(socket.SHUT_WR)
                self._listen_to_the_end()
        except OSError:
            pass  # it is gone already
        finally:
            self.socket.close()

    def _listen_to_the_end(self) -> None:
        deadline_s, count_read = time.monotonic() + _FAREWELL_S, 0
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(_FAREWELL_S / 4))
        while count_read < _FAREWELL_BYTES and time.monotonic() < deadline_s:
            try:
                count = self.socket.recv_into(self._buffer)
            except BlockingIOError:
                continue
            if not count:
                return
            count_read += count

    def _receive(self, view: memoryview, flags: int) -> int:
        """At least one byte into `view`."""
        while not self._why_ended:
            try:
                count = self.socket.recv_into(view, 0, flags)
            except BlockingIOError:
                count = -1
            except OSError as error:
                raise self._lost() from error
            if count == 0:
                raise self._lost()
            # also after bytes have come: a peer that sends one now and then is no better than a
            # silent one
            if time.monotonic() > self.deadline_s:
                raise PeerSilent("the peer was silent, or slow, for too long")
            if count > 0:
                return count
        raise self._lost()

    def _lost(self) -> PeerLost | EndedByUs:
        if self._why_ended:
            return EndedByUs(self._why_ended)
        return PeerLost("the peer is gone")

    def _shut(self, how: int) -> None:
        try:
            self.socket.shutdown(how)
        except OSError:
            return  # the peer had hung up


def _timeval(seconds: float) -> bytes:
    """`struct timeval` of the platform."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
