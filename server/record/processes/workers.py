"""Who is alive: a row for each worker, beaten by the database's clock."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, false, func, select
from sqlalchemy.dialects.postgresql import insert

from server.record import audit
from server.record.database.engine import Sessions
from server.record.tables import WorkerRow


@dataclass(frozen=True)
class WorkerIdentity:
    """A worker process.

    `machine` names boot and process namespace: only there does its number mean anything.
    """

    executor_id: str
    machine: str
    process_id: int
    process_started: str

    @classmethod
    def of_this_process(cls) -> WorkerIdentity:
        """A new identity: never the one of an earlier process."""
        name = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        return cls(name, _machine(), os.getpid(), _started(os.getpid()) or "")

    def is_gone(self) -> bool:
        """Whether this process has certainly ended; False from any other machine."""
        return self.machine == _machine() and _started(self.process_id) != self.process_started


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        # no /proc: nothing can be proved, heartbeats decide
        return uuid.uuid4().hex


def _started(process_id: int) -> str | None:
    """When a process began, in ticks since boot; None if there is none."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # the name in brackets may hold anything; field 22 counted from 1 is the 20th after it
    # as proc(5) says; Z is dead
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True)
class Census:
    """Executor ids of the workers that were removed, and of those that were looked at and live."""

    dead: tuple[str, ...]
    alive: frozenset[str]


class Workers:
    """The table of workers."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def beat(self, worker: WorkerIdentity) -> None:
        """Say that `worker` lives."""
        with self._sessions.begin() as session:
            session.execute(
                insert(WorkerRow)
                .values(
                    executor_id=worker.executor_id,
                    started_at=func.now(),
                    heartbeat_at=func.now(),
                    machine=worker.machine,
                    process_id=worker.process_id,
                    process_started=worker.process_started,
                )
                .on_conflict_do_update(constraint="pk_workers", set_={"heartbeat_at": func.now()})
            )

    def bury(self, limit_s: float | None) -> Census:
        """Remove workers that have certainly ended, and those silent for `limit_s` seconds.

        A worker that last beat in the future did so before the database's clock was put back: its
        silence begins now.
        """
        is_ahead = WorkerRow.heartbeat_at > func.now()
        is_silent = (
            false()
            if limit_s is None
            else WorkerRow.heartbeat_at < func.now() - timedelta(seconds=limit_s)
        )
        dead, alive = [], []
        with self._sessions.begin() as session:
            # one statement: every worker asks this every few seconds, also when nothing is to do
            rows = session.execute(
                select(WorkerRow, is_ahead, is_silent).with_for_update(skip_locked=True)
            ).all()
            for row, ahead, silent in rows:
                if silent or _identity(row).is_gone():
                    audit.note(session, "worker.gone", worker=row.executor_id)
                    session.delete(row)
                    dead.append(row.executor_id)
                    continue
                alive.append(row.executor_id)
                if ahead:
                    row.heartbeat_at = func.now()
        return Census(tuple(dead), frozenset(alive))

    def alive(self) -> set[str]:
        """Executor ids of the workers that are not known to be dead."""
        with self._sessions.begin() as session:
            return set(session.scalars(select(WorkerRow.executor_id)))

    def leave(self, worker: WorkerIdentity) -> None:
        """`worker` ends in good order: others may take its work at once."""
        with self._sessions.begin() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.executor_id == worker.executor_id))


def _identity(row: WorkerRow) -> WorkerIdentity:
    return WorkerIdentity(row.executor_id, row.machine, row.process_id, row.process_started)
