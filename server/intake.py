"""From what arrived to requests: indexes after the reply, completes what is quiet. Runs in the listener's process.

The listener never waits for it: while the database is away images are received as ever, and taken up when it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Protocol

from server.errors import RecordUnavailable
from server.pulses import Part, Pulse
from server.record.completion import Completion

logger = logging.getLogger(__name__)

INTERVAL_S = 0.5
LONGEST_WAIT_S = 5.0
STOP_S = 3.0
# a study that could not be taken in (its disk, its headers) must not be tried without pause
STUDY_WAIT_S = 30.0
# the largest study is indexed and completed in less on a slow disk
LIMIT_S = 120.0


class Watch(Protocol):
    """What the intake needs of dicom_node.watch.StudyWatch."""

    def note(self, study_instance_uid: str) -> None:
        """A study was found on disk: its quiet time begins."""

    def changed(self) -> set[str]:
        """Studies with something new since the last call."""

    def due(self, quiet_s: float, forced: Collection[str] = ()) -> list[str]:
        """Studies that are complete; the same again until they are forgotten."""

    def forget(self, study_instance_uid: str) -> bool:
        """Taken care of; False if more has come since."""


class Intake:
    """`open_record` makes the database usable and gives the completion; it is called until it succeeds.

    `pulse` is beaten between two studies; it says so when none can be taken in.
    """

    def __init__(
        self,
        watch: Watch,
        open_record: Callable[[], Completion],
        quiet_s: float,
        clock: Callable[[], float] = time.monotonic,
        pulse: Pulse | None = None,
    ) -> None:
        self._pulse = pulse or Pulse(Part.INTAKE, LIMIT_S)
        self._watch = watch
        self._open_record = open_record
        self._quiet_s = quiet_s
        self._clock = clock
        self._completion: Completion | None = None
        self._changed: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the study in hand, if that is soon; what is not done is found at the next start."""
        self._stop.set()
        self._thread.join(timeout=STOP_S)

    def tick(self) -> None:
        """Index what changed, complete what is due. RecordUnavailable: call again later, nothing is lost."""
        completion = self._opened()
        self._changed |= self._watch.changed()
        for study in sorted(self._changed):
            self._take(study, lambda uid: completion.index(uid))
            self._changed.discard(study)
        for study in self._watch.due(self._quiet_s):
            if self._take(study, lambda uid: completion.complete(uid, evidence="quiet")):
                self._watch.forget(study)

    def _opened(self) -> Completion:
        if self._completion is None:
            completion = self._open_record()
            for study in completion.unsettled():
                logger.info("study %s was found on disk: its quiet time begins anew", study)
                self._watch.note(study)
            self._completion = completion
        return self._completion

    def _take(self, study: str, work: Callable[[str], object]) -> bool:
        if self._clock() < self._not_before.get(study, 0.0):
            return False
        self._pulse.beat("take in a study")
        try:
            work(study)
        except RecordUnavailable:
            raise
        except Exception:  # one study's boundary: it must not hold up the others
            logger.exception("study %s could not be taken in; again in %.0f s", study, STUDY_WAIT_S)
            self._not_before[study] = self._clock() + STUDY_WAIT_S
            return False
        self._not_before.pop(study, None)
        return True

    def _run(self) -> None:
        wait_s = INTERVAL_S
        while not self._stop.wait(wait_s):
            try:
                self.tick()
            except RecordUnavailable as error:
                if wait_s == INTERVAL_S:
                    logger.warning("received studies wait for the record: %s", error)
                self._pulse.beat("wait for the record")
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            except (
                Exception
            ):  # the thread's boundary: without it nothing received would ever be taken in
                logger.exception("received studies could not be taken in; again soon")
                self._pulse.fail("what arrives cannot be taken in: the listener's log says why")
                wait_s = LONGEST_WAIT_S
            else:
                self._pulse.beat("look for what has arrived")
                wait_s = INTERVAL_S
