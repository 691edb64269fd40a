"""What the processes of a node have in common: they stop when told, say when they are ready, end
with their parent, and run no code of the folder they are started in.
"""

from __future__ import annotations

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping

logger = logging.getLogger(__name__)

PARENT_VARIABLE = "SEGNODE_PARENT"
READY_VARIABLE = "SEGNODE_READY"
SAFE_PATH_VARIABLE = "PYTHONSAFEPATH"
_PATH_VARIABLE = "PYTHONPATH"
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PARENT_POLL_S = 2.0  # where the kernel tells, it has ended the process long before
_STOP_POLL_S = 0.5


def own_python(*arguments: str) -> tuple[str, ...]:
    """A command line of this Python that takes no module from the folder it is started in.

    >>> own_python("-m", "server.cli")[1:]
    ('-P', '-m', 'server.cli')
    """
    return (sys.executable, "-P", *arguments)


def safe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for processes that take no module from the folder they are started in, nor do
    theirs.

    Folders that somebody put into PYTHONPATH are meant; an empty entry there is an accident
    ("$PYTHONPATH:/more"), and Python would take it for the folder it is started in.
    """
    safe = {**environment, SAFE_PATH_VARIABLE: "1"}
    folders = [folder for folder in safe.pop(_PATH_VARIABLE, "").split(os.pathsep) if folder]
    return safe | ({_PATH_VARIABLE: os.pathsep.join(folders)} if folders else {})


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; for the main thread."""
    stop = threading.Event()
    # a handler runs within whatever the main thread does, also within the event's own lock: it may
    # only put into a queue that is made for that, and another thread does the rest
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: arrived.put(signum))
    threading.Thread(target=_set_on_arrival, args=(arrived, stop), name="stop", daemon=True).start()
    return stop


def _set_on_arrival(arrived: queue.SimpleQueue[int], stop: threading.Event) -> None:
    arrived.get()
    stop.set()


def wait_for(stop: threading.Event) -> None:
    """Wait until `stop` is set; for the main thread.

    A signal that arrives just as a wait begins runs its handler only when that wait ends, so none
    is endless.
    """
    while not stop.wait(_STOP_POLL_S):
        pass


def announce_ready(what: str) -> None:
    """Tell the supervisor, if there is one, that this process is ready; `what` is for its ready
    line.
    """
    descriptor = os.environ.get(READY_VARIABLE)
    if descriptor is None:
        logger.info("ready: %s", what)
        return
    try:
        os.write(int(descriptor), what.encode("utf-8") + b"\n")
    except OSError:
        logger.info("nobody waits to hear that %s is ready", what)


def has_parent() -> bool:
    """Whether a supervisor started this process."""
    return PARENT_VARIABLE in os.environ


def end_with_parent() -> None:
    """Make sure that this process does not outlive the supervisor that started it; nothing without
    one.

    SIGKILL, not SIGTERM: a successor wants the port at once, and everything here survives a kill at
    any step.
    """
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = int(expected)
    _end_if_orphaned(parent)
    threading.Thread(target=_watch_parent, args=(parent,), name="parent", daemon=True).start()


def _watch_parent(parent: int) -> None:
    # for systems without prctl, and for a parent thread that ended before its process did
    while True:
        _end_if_orphaned(parent)
        time.sleep(_PARENT_POLL_S)  # the end of a parent is no event that every system tells


def _end_if_orphaned(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(1)
