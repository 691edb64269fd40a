"""Memory that is asked for before it is taken: work waits its turn in a queue instead of dying
halfway.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from models.errors import MemoryShort

_log = logging.getLogger(__name__)

SHARE_OF_FREE = 0.8
"""Of the memory that is free at start; the rest is for what the estimates do not know."""

_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "allocaterawinternal",  # ONNX Runtime's arena; it says no more where its message is cut
    "failed to allocate memory",
)


class MemoryBudget:
    """`total_bytes` for the work of this process on one device, given out in the order it was asked
    for.

    `patience_s` bounds the wait of one claim: by a day, since a pass over a long volume holds
    memory for hours on a CPU. Safe to share between threads.
    """

    def __init__(self, total_bytes: int, patience_s: float = 86_400.0) -> None:
        self.total_bytes = total_bytes
        self._patience_s = patience_s
        self._free_bytes = total_bytes
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()
        self._thread = threading.local()

    @property
    def free_bytes(self) -> int:
        """What nobody has claimed now."""
        return self._free_bytes

    @contextmanager
    def claim(self, wanted_bytes: int) -> Iterator[None]:
        """Hold `wanted_bytes` while the block runs; waits for earlier claims to be over.

        More than there is in all is held as all there is: such work runs alone. A claim inside
        another one of the same thread is part of that one. MemoryShort when it waits too long.
        """
        if getattr(self._thread, "holds", False):
            yield  # to wait here for those who wait for this very thread would be for ever
            return
        held_bytes = self._take(min(wanted_bytes, self.total_bytes))
        self._thread.holds = True
        try:
            yield
        finally:
            self._thread.holds = False
            with self._changed:
                self._free_bytes += held_bytes
                self._changed.notify_all()

    def _take(self, held_bytes: int) -> int:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            in_time = self._changed.wait_for(
                lambda: self._queue[0] is ticket and self._free_bytes >= held_bytes,
                self._patience_s,
            )
            self._queue.remove(ticket)
            self._free_bytes -= held_bytes if in_time else 0
            self._changed.notify_all()
        if not in_time:
            raise MemoryShort(held_bytes, self._free_bytes, self._patience_s)
        return held_bytes


def budget_of(device: torch.device, at_most_bytes: int = 0) -> MemoryBudget:
    """The budget of a device: a share of what is free now, or `at_most_bytes` where the site has
    set it (0: it has not).
    """
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
    else:
        free_bytes = psutil.virtual_memory().available
    total_bytes = at_most_bytes or int(SHARE_OF_FREE * free_bytes)
    _log.info("models on %s may use %d MB", device, total_bytes >> 20)
    return MemoryBudget(total_bytes)


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether an error says that memory, of the machine or of a GPU, was not to be had."""
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(fault).lower()
    return isinstance(fault, RuntimeError) and any(phrase in message for phrase in _PHRASES)
