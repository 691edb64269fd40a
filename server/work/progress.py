"""How far requests are, for whoever waits for them: the newest word of each, about once a second.

The stages tell at every slice and every turn; the record is told by a thread of its own, which
sleeps where nothing is told. A word that cannot be recorded is lost: the next one says more.
"""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from server.errors import RecordError
from server.record import requests
from server.record.database.engine import Sessions
from server.values import Assignment, StepProgress

logger = logging.getLogger(__name__)

EVERY_S = 1.0


class ProgressNotes:
    """Notes progress in the record, `every_s` seconds apart at least. Any thread may tell."""

    def __init__(self, sessions: Sessions, every_s: float = EVERY_S) -> None:
        self._sessions, self._every_s = sessions, every_s
        self._lock = threading.Lock()
        self._newest: dict[str, StepProgress] = {}
        self._news, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to note."""
        self._thread.start()

    def stop(self) -> None:
        """Note no more; ends in a moment."""
        self._stop.set()
        self._news.set()

    def tell(self, assignment: Assignment, progress: StepProgress) -> None:
        """Where the work on a request stands now (server.pipeline.OnProgress). Waits for none."""
        with self._lock:
            self._newest[assignment.request_id] = progress
        self._news.set()

    def note(self) -> int:
        """Record what was told since the last time; of how many requests."""
        self._news.clear()
        with self._lock:
            newest, self._newest = self._newest, {}
        if newest:
            with self._sessions.begin() as session:
                for request_id in sorted(newest):  # always in this order: nobody waits in a circle
                    requests.note_progress(session, request_id, newest[request_id])
        return len(newest)

    def _run(self) -> None:
        while True:
            self._news.wait()
            if self._stop.is_set():
                return
            try:
                self.note()
            except (RecordError, SQLAlchemyError) as error:
                logger.warning("progress cannot be noted: %s", type(error).__name__)
            self._stop.wait(self._every_s)
