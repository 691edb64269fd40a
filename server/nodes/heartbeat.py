"""The pulses of a process made known: rows in the record, which an API on any machine reads.

Rows and not files, because listener, workers and API may run on different machines and share only
the database; without the database no node is ready anyway.
"""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from server.errors import RecordError, RecordUnavailable
from server.files import write_file
from server.pulses import Pulse, PulseState

logger = logging.getLogger(__name__)

LOOK_S = 1.0
PUBLISH_S = 5.0
"""Between two publications where nothing has changed; a change is published within LOOK_S."""
PROBE_S = 5.0
STORAGE_LIMIT_S = 30.0
_PROBE_NAME = ".heartbeat"
_STOP_S = 3.0


class Parts(Protocol):
    """The part of server.record.processes.parts.PartTable that a publisher speaks to."""

    def publish(self, states: Sequence[PulseState]) -> None:
        """Make known how the parts of this process are; RecordUnavailable."""

    def leave(self) -> None:
        """This process ends in good order; RecordUnavailable."""


class Publisher:
    """A thread that tells the record how the pulses of this process are; it beats none of them.

    `open_parts` makes the record usable, and is called until it succeeds; None where the database
    is still being opened. `looks` are called before each time: they beat the pulses of loops that
    are not ours, from what can be seen of them.
    """

    def __init__(
        self,
        pulses: Sequence[Pulse],
        open_parts: Callable[[], Parts | None],
        looks: Sequence[Callable[[], None]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._published_s = clock, -math.inf
        self._published: list[tuple[str, str | None]] = []
        self._pulses, self._open_parts, self._looks = tuple(pulses), open_parts, tuple(looks)
        self._parts: Parts | None = None
        self._troubled = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulses", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and take the rows away: this process does nothing any more."""
        self._stop.set()
        self._thread.join(timeout=_STOP_S)
        if self._parts is not None:
            try:
                self._parts.leave()
            except RecordError:
                logger.info("could not sign off: the age of the last heartbeat will tell")

    def publish(self) -> None:
        """Tell the record once; what keeps it from that is logged when it begins."""
        try:
            if self._parts is None:
                self._parts = self._open_parts()
            if self._parts is None:  # a node that has just started opens its database
                return
            for look in self._looks:
                look()
            doings = self._doings()
            self._parts.publish([pulse.state() for pulse in self._pulses])
            self._published_s, self._published = self._clock(), doings
        except RecordUnavailable as error:
            self._note_trouble(str(error))
        except Exception:  # the thread's boundary: without it this process would look dead for ever
            if not self._troubled:
                logger.exception("the heartbeat could not be told")
            self._troubled = True
        else:
            self._troubled = False

    def is_due(self) -> bool:
        """Whether a part does something else than was published, or that was a while ago."""
        is_old = self._clock() - self._published_s >= PUBLISH_S - LOOK_S / 2
        return is_old or self._doings() != self._published

    def _doings(self) -> list[tuple[str, str | None]]:
        states = [pulse.state() for pulse in self._pulses]
        return [(state.doing, state.fault) for state in states]

    def _note_trouble(self, sentence: str) -> None:
        if not self._troubled:
            logger.warning("no heartbeat: %s", sentence)
        self._troubled = True

    def _run(self) -> None:
        self.publish()
        while not self._stop.wait(LOOK_S):
            if self.is_due():
                self.publish()


class StorageProbe:
    """A thread that writes a small file to `folder` as instances and results are written, fsync and
    rename included.

    Its pulse beats when that worked; a write that fails is its fault, one that never returns lets
    it grow old. It is a fault too when fewer than `minimum_free_bytes` are free.
    """

    def __init__(self, folder: Path, minimum_free_bytes: int, pulse: Pulse) -> None:
        self._folder, self._minimum_free_bytes = folder, minimum_free_bytes
        self.pulse = pulse
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="storage", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a write that hangs is not waited for."""
        self._stop.set()

    def probe(self) -> None:
        """Write once."""
        try:
            write_file(self._folder / _PROBE_NAME, lambda stream: stream.write(b"segnode\n"))
        except OSError as error:
            self.pulse.fail(f"storage.dir cannot be written ({error.strerror}): look at the disk")
            return
        shortage = storage_shortage(self._folder, self._minimum_free_bytes)
        if shortage is None:
            self.pulse.beat("write")
        else:
            self.pulse.fail(shortage)

    def _run(self) -> None:
        self.probe()
        while not self._stop.wait(PROBE_S):
            self.probe()


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is; 0 when that cannot be asked."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def storage_shortage(folder: Path, minimum_free_bytes: int) -> str | None:
    """A sentence when less is free than storage.minimum_free_bytes."""
    free = free_bytes(folder)
    if free >= minimum_free_bytes:
        return None
    return (
        f"{free} bytes are free in storage.dir, less than storage.minimum_free_bytes "
        f"({minimum_free_bytes}): make room"
    )
