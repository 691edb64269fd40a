"""Calls that wait for somebody else, on a bounded number of threads of their own.

They hold up nothing but themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

from server.errors import TooManyCalls

T = TypeVar("T")


class Counter:
    """Places for one kind of call: no more than `most` at once, and nobody queues for one."""

    def __init__(self, most: int, busy: str) -> None:
        self._most, self._busy = most, busy
        self._inside = 0  # changed on the event loop alone

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count as one while the block runs.

        TooManyCalls, in the words `busy`, when there are as many already.
        """
        if self._inside >= self._most:
            raise TooManyCalls(self._busy)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` gives, on a thread; TooManyCalls as `place`."""
        with self.place():
            # the limiter is this call's own: the pool that other handlers share is left to them
            return await anyio.to_thread.run_sync(call, limiter=anyio.CapacityLimiter(1))


class Shared(Generic[T]):
    """One call for all who ask while it runs; none of them joins a call that hangs."""

    def __init__(self, call: Callable[[], T], limit_s: float) -> None:
        self._call, self._limit_s = call, limit_s
        self._running: asyncio.Task[T] | None = None
        self._began_s = 0.0

    async def get(self) -> T:
        """The answer.

        TimeoutError when there is none `limit_s` after the call began, and for as long as it hangs.
        """
        now_s = asyncio.get_running_loop().time()
        running = self._running
        if running is None or running.done():
            running = self._running = asyncio.create_task(self._run())
            self._began_s = now_s
        await asyncio.wait([running], timeout=max(self._began_s + self._limit_s - now_s, 0.0))
        if not running.done():
            raise TimeoutError
        return running.result()

    async def _run(self) -> T:
        return await anyio.to_thread.run_sync(self._call, limiter=anyio.CapacityLimiter(1))
