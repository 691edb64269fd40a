"""A storage.dir belongs to one node: a second one on it would take in the first one's studies and
send them again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.errors import ConfigurationError

# a node that was killed goes in an instant, its children a moment later
LEAVING_S = 5.0
_ASK_AGAIN_S = 0.1


@contextmanager
def storage_of(storage: Path, part: str, patience_s: float | None = None) -> Iterator[None]:
    """Hold `storage` for this process's `part` ("serve", "listen") while the block runs; the lock
    goes with the process.

    ConfigurationError when another process of that part holds it.
    """
    storage.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(storage / f"{part}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        wait_s = LEAVING_S if patience_s is None else patience_s
        _take(lock, storage, part, time.monotonic() + wait_s)
        yield
    finally:
        os.close(lock)


def _take(lock: int, storage: Path, part: str, deadline_s: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline_s:
                time.sleep(_ASK_AGAIN_S)  # a lock with a deadline is nothing that flock knows
                continue
            raise ConfigurationError(
                f"storage.dir: another `segnode {part}` works on {storage.absolute()}; stop it, or "
                "give this node a "
                "storage.dir of its own"
            ) from None
        else:
            return
