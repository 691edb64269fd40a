"""The masks of turns go when the site says so: looked for when a worker starts, then every hour.

Everything else of a request stays: rows, trace, results. An audit line says what went, and is
written before the file goes: a crash between the two leaves a line too many, never one too few.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from server.errors import RecordError
from server.record import audit
from server.record.database.engine import Sessions
from server.record.tables import RequestRow
from server.study.turn_mask_file import TURN_MASKS

logger = logging.getLogger(__name__)

EVERY_S = 3600.0
_DAY_S = 86_400.0


class TurnMaskRetention:
    """Deletes the turns' masks of requests under `work_folder` that are older than `days`; 0 keeps
    them all. `now` gives seconds since 1970, as files' times do.
    """

    def __init__(
        self,
        sessions: Sessions,
        work_folder: Path,
        days: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sessions, self._work_folder, self._days, self._now = sessions, work_folder, days, now
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Begin to look, if there is anything to delete ever."""
        if self._days:
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def sweep(self) -> list[str]:
        """Look once; the ids of the requests whose masks went. OSError, RecordError."""
        swept = []
        for path in self._expired():
            request_id = path.parent.name
            with self._sessions.begin() as session:
                row = session.get(RequestRow, request_id)
                audit.note(
                    session,
                    "turn_masks.deleted",
                    study=None if row is None else row.study_instance_uid,
                    request_id=request_id,
                    days=self._days,
                )
            path.unlink(missing_ok=True)
            swept.append(request_id)
        return swept

    def _expired(self) -> Iterator[Path]:
        oldest_s = self._now() - self._days * _DAY_S
        for path in sorted(self._work_folder.glob(f"*/{TURN_MASKS}")):
            if self._days and path.stat().st_mtime < oldest_s:
                yield path

    def _run(self) -> None:
        while True:
            try:
                swept = self.sweep()
                if swept:
                    logger.info("turns' masks of %d requests were deleted", len(swept))
            except (OSError, RecordError, SQLAlchemyError) as error:
                logger.warning("turns' masks are not looked through: %s", type(error).__name__)
            if self._stop.wait(EVERY_S):
                return
