"""The state of each part of each process: a row of its own, by the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from server.pulses import Part, PulseState
from server.record.database.engine import Sessions
from server.record.processes.workers import WorkerIdentity
from server.record.tables import PartRow
from server.record.views import PartView

_CHANGING = ("published_at", "age_s", "limit_s", "doing", "fault")
# made once: with its rows inside it would be compiled anew at every heartbeat of every process
_INSERT = insert(PartRow.metadata.tables[PartRow.__tablename__]).values(published_at=func.now())
_PUBLISH = _INSERT.on_conflict_do_update(
    constraint="pk_parts", set_={name: _INSERT.excluded[name] for name in _CHANGING}
)
FORGOTTEN_S = 86_400.0
"""A row nobody has touched for so long says nothing any more."""


class PartTable:
    """The table of parts, for the process that is `identity`."""

    def __init__(self, sessions: Sessions, identity: WorkerIdentity) -> None:
        self._sessions, self._identity = sessions, identity

    def publish(self, states: Sequence[PulseState]) -> None:
        """See server.nodes.heartbeat.Parts."""
        with self._sessions.begin() as session:
            # a heartbeat that a power cut takes away is not missed, and a disk is spared a flush
            # each second
            session.execute(text("SET LOCAL synchronous_commit = off"))
            if states:
                session.execute(_PUBLISH, [self._row(state) for state in states])

    def _row(self, state: PulseState) -> dict[str, object]:
        return {
            "part": state.part.value,
            "executor_id": self._identity.executor_id,
            "machine": self._identity.machine,
            "process_id": self._identity.process_id,
            "process_started": self._identity.process_started,
            "age_s": state.age_s,
            "limit_s": state.limit_s,
            "doing": state.doing,
            "fault": state.fault,
        }

    def leave(self) -> None:
        """See server.nodes.heartbeat.Parts."""
        with self._sessions.begin() as session:
            session.execute(
                delete(PartRow).where(PartRow.executor_id == self._identity.executor_id)
            )

    def sweep(self) -> None:
        """Remove rows of processes that have ended, and those not touched for a day."""
        with self._sessions.begin() as session:
            forgotten = func.now() - timedelta(seconds=FORGOTTEN_S)
            for row in session.scalars(select(PartRow).with_for_update(skip_locked=True)):
                if _identity(row).is_gone():
                    session.delete(row)
            session.execute(delete(PartRow).where(PartRow.published_at < forgotten))

    def parts(self) -> tuple[PartView, ...]:
        """Every part of a process that is not known to have ended; RecordUnavailable."""
        since = func.extract("epoch", func.clock_timestamp() - PartRow.published_at)
        with self._sessions.begin() as session:
            rows = session.execute(
                select(PartRow, since).order_by(PartRow.part, PartRow.executor_id)
            )
            return tuple(
                PartView(
                    part=Part(row.part),
                    here=row.machine == self._identity.machine,
                    age_s=row.age_s + float(silent_s),
                    silent_s=float(silent_s),
                    limit_s=row.limit_s,
                    doing=row.doing,
                    fault=row.fault,
                )
                for row, silent_s in rows
                if float(silent_s) < FORGOTTEN_S and not _identity(row).is_gone()
            )


def _identity(row: PartRow) -> WorkerIdentity:
    return WorkerIdentity(row.executor_id, row.machine, row.process_id, row.process_started)
