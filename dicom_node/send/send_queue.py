"""What waits to be sent in an association, bounded: a large file is never in memory whole.

pynetdicom's own queue takes a file as fast as the disk gives it, whatever the peer takes.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

_MOST_PDUS = 64
_LOOK_S = 0.2  # how often it is looked whether anybody still sends


class SendQueue(queue.Queue[Any]):
    """A queue that makes its filler wait while it is full, as long as `is_sending` holds; what
    comes after that is dropped, and the association tells of its end.
    """

    def __init__(self, is_sending: Callable[[], bool]) -> None:
        super().__init__(_MOST_PDUS)
        self._is_sending = is_sending

    def put(
        self,
        item: Any,
        block: bool = True,  # noqa: ARG002 - the signature of Queue
        timeout: float | None = None,  # noqa: ARG002 - likewise
    ) -> None:
        """See queue.Queue."""
        while self._is_sending():
            try:
                super().put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return
