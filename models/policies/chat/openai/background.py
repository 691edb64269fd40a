"""An event loop on a thread of its own, for synchronous callers on any number of threads."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """Runs coroutines for callers that are not asynchronous; the thread ends with this object or
    with the process.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_turn, args=(self._loop,), name=name, daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _stop, self._loop, thread)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises; an interrupted caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread; nothing runs afterwards."""
        self._end()


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run until stopped; what then is still open (a connection being closed) is cancelled and
    waited for.
    """
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    # the last reference may go on the loop's own thread, which cannot wait for itself
    if thread is not threading.current_thread():
        thread.join()
