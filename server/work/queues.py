"""The queues of a worker: it takes work at once when it is told of some, and asks now and then.

DBOS asks the database for work at a fixed interval; for work to start soon that is several times a
second, day and night, and nothing wakes it. Here DBOS's own loop waits on an event of ours: a
NOTIFY, which the record sends with every job that it queues, ends the wait. Without one the loop
asks every few seconds, and more often while work runs or has come lately.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psycopg2
from dbos import DBOS
from dbos._queue import queue_worker_thread  # its name is private: held by test_queues.py
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from server.record.database.jobs import DBOS_SCHEMA, DELIVERY_QUEUE, STUDY_QUEUE, WORK_CHANNEL

logger = logging.getLogger(__name__)

RECONNECT_S = 2.0
JOIN_S = 5.0
_SOONEST_S = 0.05


@dataclass(frozen=True)
class Pace:
    """Seconds between two questions for work: `idle_s` where no NOTIFY came, `busy_s` while work
    runs and until `linger_s` after.
    """

    idle_s: float = 20.0
    busy_s: float = 0.1
    linger_s: float = 3.0


class WakeableStop:
    """What a queue's loop waits on: a stop event whose wait ends also when it is woken."""

    def __init__(
        self,
        is_busy: Callable[[], bool],
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_busy, self._pace, self._clock = is_busy, pace, clock
        self._changed = threading.Condition()
        self._stopped = self._woken = False
        self._awake_until_s = clock() + pace.linger_s

    def is_set(self) -> bool:
        """Whether the loop shall stop."""
        return self._stopped

    def set(self) -> None:
        """Stop the loop."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Let the loop ask for work now, or once more if it is just asking."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - the queue's own interval
        """Wait until the next question is due; whether the loop shall stop instead."""
        with self._changed:
            if self._is_busy():
                self._awake_until_s = self._clock() + self._pace.linger_s
            is_awake = self._clock() < self._awake_until_s
            limit_s = self._pace.busy_s if is_awake else self._pace.idle_s
            self._changed.wait_for(lambda: self._stopped or self._woken, limit_s)
            if self._woken:
                self._awake_until_s = self._clock() + self._pace.linger_s
            self._woken = False
            return self._stopped


class WorkQueues:
    """Takes work from both queues of a launched DBOS, and makes delayed work due."""

    def __init__(self, engine: Engine, pace: Pace) -> None:
        self._engine, self._pace = engine, pace
        self._dbos: Any = None
        self._stops: dict[str, WakeableStop] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._interrupt_read, self._interrupt_write = os.pipe()

    def start(self, dbos: DBOS) -> None:
        """Begin; DBOS's own loops end: they poll queues, schedules and timeouts that we lack."""
        self._dbos = dbos
        for event in dbos.background_thread_stop_events:
            event.set()
        dbos._background_jobs_stop_event.set()  # noqa: SLF001 - it has no setting
        for name in (STUDY_QUEUE, DELIVERY_QUEUE):
            stop = self._stops[name] = WakeableStop(self._is_busy(name), self._pace)
            self._begin(f"queue {name}", queue_worker_thread, stop, dbos, DBOS.retrieve_queue(name))
        self._begin("notices", self._listen)

    def stop(self) -> None:
        """Take no more work."""
        self._stopping.set()
        os.write(self._interrupt_write, b"x")
        for stop in self._stops.values():
            stop.set()
        for thread in self._threads:
            thread.join(JOIN_S)

    def _begin(self, name: str, run: Callable[..., object], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _is_busy(self, queue: str) -> Callable[[], bool]:
        active = self._dbos._active_workflows_set  # noqa: SLF001 - as its own loop counts them
        return lambda: bool(active.count_for_queue(queue))

    def _listen(self) -> None:
        """Listen for notices until stopped, with another connection when one is lost."""
        while not self._stopping.is_set():
            try:
                pooled = self._engine.raw_connection()
                pooled.detach()
                try:
                    self._act_on_notices(pooled.dbapi_connection)
                finally:
                    pooled.close()
            except (psycopg2.Error, SQLAlchemyError, OSError) as error:
                logger.info("no notices of work: %s", type(error).__name__)
            except Exception:  # the thread's boundary: without it delayed work would never be due
                logger.exception("notices of work could not be acted upon")
            self._stopping.wait(RECONNECT_S)

    def _act_on_notices(self, connection: Any) -> None:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {WORK_CHANNEL}")
            self._wake(self._stops)  # for what was queued while nobody listened
            while not self._stopping.is_set():
                select.select([connection, self._interrupt_read], [], [], self._due_in_s(cursor))
                connection.poll()
                self._wake({notice.payload for notice in connection.notifies})
                connection.notifies.clear()

    def _due_in_s(self, cursor: Any) -> float:
        """Seconds until delayed work is due, at most `idle_s`; work that is due is queued."""
        remaining_s = self._remaining_s(cursor)
        if remaining_s <= 0:
            self._dbos._sys_db.transition_delayed_workflows()  # noqa: SLF001 - its loop was ended
            self._wake({DELIVERY_QUEUE})
            remaining_s = self._remaining_s(cursor)
        return min(max(remaining_s, _SOONEST_S), self._pace.idle_s)

    def _remaining_s(self, cursor: Any) -> float:
        cursor.execute(
            "SELECT min(delay_until_epoch_ms) / 1000.0 - extract(epoch FROM clock_timestamp()) "  # noqa: S608 - our own constant
            f"FROM {DBOS_SCHEMA}.workflow_status WHERE status = 'DELAYED'"
        )
        remaining_s = cursor.fetchone()[0]
        return self._pace.idle_s if remaining_s is None else float(remaining_s)

    def _wake(self, queues: Iterable[str]) -> None:
        for queue in queues:
            if queue in self._stops:
                self._stops[queue].wake()
