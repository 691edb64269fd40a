"""From what arrived to requests: indexes after the reply, completes what is quiet. Runs in the
listener's process.

The listener never waits for it: while the database is away images are received as ever, and taken
up when it is back. A study's fault is the study's: it is tried a few times and then given up with a
REJECTED request, and no other waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from agent.errors import AgentError
from dicom_node.errors import DicomNodeError
from dicom_node.log_text import log_subject, subject_of
from models.errors import ModelsError
from server.errors import RecordUnavailable, ServerError
from server.pulses import Part, Pulse
from server.record.completion import Completion
from server.traces import bare_trace

logger = logging.getLogger(__name__)

INTERVAL_S = 0.5
LONGEST_WAIT_S = 5.0
STOP_S = 3.0
# the largest study is indexed and completed in less on a slow disk
LIMIT_S = 120.0
ATTEMPTS = 5
"""Tries of a study before it is given up: with the waits between them a quarter of a minute, in
which a disk may come back.
"""
FIRST_WAIT_S = 1.0
"""Wait after the first failed try; twice as long after each further one."""
LONGEST_STUDY_WAIT_S = 600.0
"""Longest wait: reached by a study that arrives for ever, or that cannot even be given up."""


class Watch(Protocol):
    """What the intake needs of dicom_node.receive.study_completeness.StudyWatch."""

    def note(self, study_instance_uid: str) -> None:
        """A study was found on disk: its quiet time begins."""

    def changed(self) -> set[str]:
        """Studies with something new since the last call."""

    def due(self, quiet_s: float) -> list[str]:
        """Studies that are complete; the same again until they are forgotten."""

    def forget(self, study_instance_uid: str) -> bool:
        """Taken care of; False if more has come since."""


@dataclass(frozen=True)
class _Trouble:
    """A study that could not be taken in `failures` times in a row; not tried again before
    `not_before_s` on the clock.
    """

    failures: int
    not_before_s: float


class Intake:
    """`open_record` makes the database usable and gives the completion; it is called until it
    succeeds.

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
        self._troubles: dict[str, _Trouble] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the study in hand, if that is soon; what is not done is found at the next
        start.
        """
        self._stop.set()
        self._thread.join(timeout=STOP_S)

    def tick(self) -> None:
        """Index what changed, complete what is due. RecordUnavailable: call again later, nothing is
        lost.
        """
        completion = self._opened()
        self._changed |= self._watch.changed()
        due = self._watch.due(self._quiet_s)
        # to complete a study is to index it, too
        for study in sorted(self._changed.difference(due)):
            if self._take(study, completion.index):
                self._changed.discard(study)
        for study in due:
            if self._take(study, partial(self._complete, completion)):
                self._changed.discard(study)
                self._watch.forget(study)

    def _complete(self, completion: Completion, study: str) -> None:
        """Complete a study, or give it up if this was its last try: only then is it sure that no
        more comes.
        """
        failures = self._failures(study) + 1
        last = failures >= ATTEMPTS
        try:
            completion.complete(study, evidence="quiet", whatever=last)
        except RecordUnavailable:
            raise
        # one study's boundary at its last try: whatever it is, trying again did not help, and a
        # person must see it
        except Exception as error:
            if not last:
                raise
            logger.error("study %s is rejected: %s", study, bare_trace(error))
            completion.give_up(study, _sentence(error, failures))

    def _opened(self) -> Completion:
        if self._completion is None:
            completion = self._open_record()
            for study in completion.unsettled():
                about = subject_of(study=study)
                logger.info(
                    "study %s was found on disk: its quiet time begins anew", study, extra=about
                )
                self._watch.note(study)
            self._completion = completion
        return self._completion

    def _take(self, study: str, work: Callable[[str], object]) -> bool:
        """Do a study's work unless it is too early for its next try; whether that went well."""
        if study in self._troubles and self._clock() < self._troubles[study].not_before_s:
            return False
        self._pulse.beat("take in a study")
        try:
            with log_subject(study=study):
                work(study)
        except RecordUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  one study's boundary: it must not hold up the others
            failures = self._failures(study) + 1
            about = subject_of(study=study)
            logger.warning(
                "study %s could not be taken in: %s", study, bare_trace(error), extra=about
            )
            wait_s = min(FIRST_WAIT_S * 2 ** (failures - 1), LONGEST_STUDY_WAIT_S)
            self._troubles[study] = _Trouble(failures, self._clock() + wait_s)
            return False
        self._troubles.pop(study, None)
        return True

    def _failures(self, study: str) -> int:
        return self._troubles[study].failures if study in self._troubles else 0

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
            except Exception as error:  # noqa: BLE001  the thread's boundary: it takes in all that is received
                logger.error("received studies could not be taken in: %s", bare_trace(error))
                self._pulse.fail("what arrives cannot be taken in: the listener's log says why")
                wait_s = LONGEST_WAIT_S
            else:
                self._pulse.beat("look for what has arrived")
                wait_s = INTERVAL_S


def _sentence(error: Exception, failures: int) -> str:
    """Why a study was given up, for a person: in our own words only, others may quote a header."""
    ours = isinstance(error, (ServerError, DicomNodeError, AgentError, ModelsError))
    why = str(error) if ours else "it failed unexpectedly, the log says where"
    if isinstance(error, OSError):
        why = f"the disk failed: {error.strerror or 'no reason given'}"
    return (
        f"the study could not be taken in, {failures} times: {why}; "
        "send it again, or ask again with POST /studies/{uid}/complete"
    )
