"""Memory for work in progress, reserved before it is taken.

Thus no number of clients takes more than there is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import ImageTooLarge, TooManyCalls

WAIT_S = 20.0
"""How long a call waits for others to finish; an image of 40 million pixels is encoded in less."""


class MemoryAccount:
    """At most `total_bytes` at a time, for any number of threads."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._reserved = 0
        self._freed = threading.Condition()

    @property
    def reserved_bytes(self) -> int:
        """What is reserved now."""
        with self._freed:
            return self._reserved

    @contextmanager
    def reserved(self, wanted_bytes: int, wait_s: float = WAIT_S) -> Iterator[None]:
        """Hold so much while the block runs, once others have left room.

        Raises ImageTooLarge where it is more than there ever is, TooManyCalls when there is no room
        within `wait_s`.
        """
        if wanted_bytes > self._total_bytes:
            raise ImageTooLarge(
                f"working on this image takes {wanted_bytes} bytes, more than the "
                f"{self._total_bytes} there are for it: "
                "send a smaller one, or raise sessions.working_bytes"
            )
        with self._freed:
            room = self._freed.wait_for(lambda: self._fits(wanted_bytes), wait_s)
            if not room:
                raise TooManyCalls(
                    "the images that are worked on fill sessions.working_bytes: try again"
                )
            self._reserved += wanted_bytes
        try:
            yield
        finally:
            self.give(wanted_bytes)

    def take(self, wanted_bytes: int) -> bool:
        """Take so much until it is given back; False, at once, where there is no room."""
        with self._freed:
            if not self._fits(wanted_bytes):
                return False
            self._reserved += wanted_bytes
            return True

    def give(self, taken_bytes: int) -> None:
        """Give back what was taken."""
        with self._freed:
            self._reserved -= taken_bytes
            self._freed.notify_all()

    def _fits(self, wanted_bytes: int) -> bool:
        return self._reserved + wanted_bytes <= self._total_bytes
