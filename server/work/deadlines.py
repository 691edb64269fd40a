"""Stages that end: each has a deadline, is asked whether it is still wanted, and is stopped when it
goes on all the same.

A stage calls libraries that loop over what peers sent and ask nobody, so it is asked from outside:
a thread looks at every stage that runs. One that is too late, takes too much memory, or whose
request was cancelled is interrupted at its next instruction of Python. One that is deep in a
library, and does not come back within `grace_s`, ends its worker: the request has ended in the
record by then, so that nobody takes it up again, and the supervisor starts another worker.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from dicom_node.log_text import subject_of
from server.errors import RecordUnavailable, RunEnded
from server.values import Stage

logger = logging.getLogger(__name__)

LOOK_S = 0.5
_DELIVERIES = 100
"""Turns of a loop in which the interpreter raises what is pending; the first one does."""
ASK_S = 2.0
STOPPED_WORKER = 75  # sysexits.h: a temporary failure, try again
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_SHARE_OF_MEMORY = 0.9


class StageInterrupted(BaseException):
    """Raised within a stage that shall not go on. No Exception: libraries that read files catch
    those and go on.
    """


class StageUnwanted(StageInterrupted):
    """The same, because the request was cancelled or superseded: what it left is not needed any
    more.
    """


@dataclass(frozen=True)
class StageLimits:
    """How long each stage may take, in seconds ("outline" and "segment" for each target), and how
    much memory the worker may have (bytes; 0: nine tenths of the machine's). `grace_s` is from the
    interruption to the worker's end.
    """

    select_s: float = 900.0
    outline_s: float = 14_400.0
    follow_s: float = 14_400.0
    segment_s: float = 14_400.0
    write_s: float = 3_600.0
    grace_s: float = 60.0
    memory_bytes: int = 0

    def of(self, stage: Stage) -> float:
        """The limit of a stage in seconds."""
        return float(getattr(self, f"{stage}_s"))

    def most_memory_bytes(self) -> int:
        """What the worker may have, where nobody said."""
        return self.memory_bytes or int(_machine_memory_bytes() * _SHARE_OF_MEMORY)


class Wanted(Protocol):
    """What is needed of server.record.runs.Runs."""

    def is_wanted(self, request_id: str, run: int) -> bool:
        """Whether this run of a request is still worked on; RecordUnavailable."""

    def fail(self, request_id: str, run: int, stage: Stage, sentence: str) -> None:
        """End the request; RunEnded if it has ended, RecordUnavailable."""


@dataclass(eq=False)
class _Running:
    """A stage that runs in `thread`. `interrupted_s` is when it was, None while it may go on; it is
    `pressed` once an exception has been put to its thread.
    """

    request_id: str
    run: int
    stage: Stage
    began_s: float
    asked_s: float
    thread: int = field(default_factory=threading.get_ident)
    interrupted_s: float | None = None
    error: type[StageInterrupted] = StageInterrupted
    pressed: bool = False


class StageWatch:
    """Watches the stages of a worker. `end_worker` ends the process, told why; `memory_bytes` says
    what it has now.
    """

    def __init__(
        self,
        runs: Wanted,
        limits: StageLimits,
        *,
        end_worker: Callable[[str], object] | None = None,
        memory_bytes: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs, self._limits, self._clock = runs, limits, clock
        self._end_worker = end_worker or _end_worker
        self._memory_bytes = memory_bytes or _own_memory_bytes
        self._most_memory_bytes = limits.most_memory_bytes()
        self._running: list[_Running] = []
        self._lock = threading.Lock()
        self._looked_s = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    @contextmanager
    def stage(self, request_id: str, run: int, stage: Stage) -> Iterator[None]:
        """A stage runs in this thread while the block does; StageInterrupted when it shall not go
        on.
        """
        now = self._clock()
        running = _Running(request_id, run, stage, now, now)
        with self._lock:
            self._running.append(running)
        try:
            yield
        finally:
            while not self._left(running):
                logger.info("request %s was interrupted as it left its stage", request_id)

    def _left(self, running: _Running) -> bool:
        """The stage has ended; what has not been raised in it yet is raised and caught here."""
        try:
            with self._lock:
                if running in self._running:
                    self._running.remove(running)
            # Not taken back by PyThreadState_SetAsyncExc(thread, NULL): CPython 3.11 then believes
            # for good that an exception is pending, and each traced call begins without end.
            for _ in range(_DELIVERIES if running.pressed else 0):
                pass  # the interpreter raises what is pending as a loop goes on
        except StageInterrupted:
            return False
        return True

    def look(self) -> None:
        """Look at every stage once."""
        now = self._clock()
        with self._lock:
            running = list(self._running)
        try:
            for each in running:
                if each.interrupted_s is None:
                    self._judge(each, now)
        except RecordUnavailable:
            # nobody can be told, and a stage that waits for the database is not late because of
            # itself
            for each in running:
                each.began_s += now - self._looked_s
        self._looked_s = now
        for each in running:
            if each.interrupted_s is not None:
                self._press(each, now)

    def _judge(self, running: _Running, now: float) -> None:
        fault = self._fault_of(running, now)
        if fault is not None:
            about = subject_of(request=running.request_id)
            logger.warning("request %s is stopped: %s", running.request_id, fault, extra=about)
            try:
                self._runs.fail(running.request_id, running.run, running.stage, fault)
            except RunEnded as ended:
                logger.info("%s", ended)
        elif now - running.asked_s < ASK_S or self._still_wanted(running, now):
            return
        else:
            running.error = StageUnwanted
        running.interrupted_s = now

    def _still_wanted(self, running: _Running, now: float) -> bool:
        running.asked_s = now
        return self._runs.is_wanted(running.request_id, running.run)

    def _fault_of(self, running: _Running, now: float) -> str | None:
        limit_s = self._limits.of(running.stage)
        if now - running.began_s > limit_s:
            return (
                f"stage '{running.stage}' took longer than {limit_s:g} s "
                f"(stages.{running.stage}_s) and was stopped: "
                "retry with a higher limit if the study is that large"
            )
        memory_bytes = self._memory_bytes()
        newest = max(self._running, key=lambda each: each.began_s, default=None)
        if memory_bytes > self._most_memory_bytes and running is newest:
            return (
                f"stage '{running.stage}' was stopped, because the worker had "
                f"{memory_bytes / 1e9:.1f} GB of memory, "
                f"more than {self._most_memory_bytes / 1e9:.1f} GB (stages.memory_bytes)"
            )
        return None

    def _press(self, running: _Running, now: float) -> None:
        """Interrupt a stage, again each time: what reads files may have swallowed it."""
        with self._lock:
            if running not in self._running:
                return
            running.pressed = True
            _raise_in(running.thread, running.error)
        if running.interrupted_s is not None and now - running.interrupted_s > self._limits.grace_s:
            self._end_worker(
                f"stage '{running.stage}' of request {running.request_id} does not stop: this "
                "worker ends, "
                "and another one goes on with the rest"
            )

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look()
            except (
                Exception
            ):  # the thread's boundary: without it no stage would have a deadline any more
                logger.exception("the running stages could not be looked at; again soon")


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _end_worker(sentence: str) -> None:
    logger.error("%s", sentence)
    logging.shutdown()
    os._exit(STOPPED_WORKER)


def _own_memory_bytes() -> int:
    """What this process has for itself: pages of files, such as a mapped volume, are not counted
    where that is known.
    """
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def _machine_memory_bytes() -> int:
    """What this machine has, or this container may have."""
    limits = [int(psutil.virtual_memory().total)]
    for path in _CGROUP_LIMITS:
        try:
            limits.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return min(limits)
