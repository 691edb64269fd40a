"""What a running workflow tells the record. Every call first makes sure the work is still wanted:
RunEnded if not.

All calls may be repeated: a step that is run again after a crash finds what it wrote and adds
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sqlalchemy import delete, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from agent.trace import turn_record
from agent.turns import Turn
from dicom_node.values import WrittenResult
from server.errors import RunEnded
from server.files import kept_path
from server.record import audit, reading, requests
from server.record.database.engine import Sessions
from server.record.database.jobs import Jobs
from server.record.tables import RequestRow, ResultRow, TargetRow, TurnRow
from server.values import (
    ENDED_STATES,
    Assignment,
    RequestState,
    Selection,
    Stage,
    TargetSummary,
)

# A stage that took its worker down with it this often is not tried again: one request must not stop
# the others.
STAGE_ATTEMPTS = 5

_STATE_OF_STAGE = {
    Stage.OUTLINE: RequestState.SEGMENTING,
    Stage.FOLLOW: RequestState.SEGMENTING,
    Stage.FINISH: RequestState.SEGMENTING,
    Stage.WRITE: RequestState.WRITING,
}


@dataclass(frozen=True)
class AnsweredBefore:
    """A request that asked the same, and the results that it was answered with."""

    request_id: str
    results: tuple[WrittenResult, ...]


class Runs:
    """The record as the study workflow sees it. `run` is the number the workflow was queued with.

    Paths of results are kept from `storage` on.
    """

    def __init__(self, sessions: Sessions, jobs: Jobs, storage: Path = Path()) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._storage = storage

    def enter(self, request_id: str, run: int, stage: Stage, part: int | None = None) -> Assignment:
        """A stage begins, one of a target with its index as `part`: what is to be done.

        A stage that has begun too often ends the request as FAILED.
        """
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            step = stage if part is None else f"{stage} {part}"
            row.stage_attempts = row.stage_attempts + 1 if row.stage == step else 1
            row.stage = step
            worn_out = row.stage_attempts > STAGE_ATTEMPTS
            if worn_out:
                _end(session, row, RequestState.FAILED, stage, _worn_out(stage))
            elif stage in _STATE_OF_STAGE:
                requests.move(session, row, _STATE_OF_STAGE[stage])
            assignment = _assignment(session, row)
        if worn_out:
            raise RunEnded(_worn_out(stage), over=False)
        return assignment

    def is_wanted(self, request_id: str, run: int) -> bool:
        """Whether this run of a request is still worked on."""
        query = select(RequestRow.run, RequestRow.state).where(RequestRow.id == request_id)
        with self._sessions.begin() as session:
            now = session.execute(query).first()
        return now is not None and now.run == run and now.state not in ENDED_STATES

    def selected(self, request_id: str, run: int, selection: Selection, seconds: float) -> None:
        """Stage "select" is done."""
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            row.selected_series_instance_uid = selection.series_instance_uid
            row.series_choice = selection.why_chosen or None
            row.warnings = list(selection.warnings)
            _took(row, Stage.SELECT, seconds)
            if row.state == RequestState.QUEUED:
                requests.move(
                    session,
                    row,
                    RequestState.SELECTED,
                    series_instance_uid=selection.series_instance_uid,
                    shape=list(selection.shape),
                    series_choice=selection.why_chosen,
                )

    def same_before(self, request_id: str, run: int, answer_digest: str) -> AnsweredBefore | None:
        """The latest request that was answered from the same series of the same study version under
        the same `answer_digest`; None where there is none, or this one is to be worked on anew.
        """
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            row.answer_digest = answer_digest
            earlier = None if row.forced else requests.answered_before(session, row)
            if earlier is None:
                return None
            return AnsweredBefore(earlier.id, requests.results_of(earlier, self._storage))

    def repeated(
        self, request_id: str, run: int, earlier_id: str, results: Sequence[WrittenResult]
    ) -> None:
        """The answer of request `earlier_id`, its turns and `results`, is this one's too."""
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            _copy_answer(session, session.get_one(RequestRow, earlier_id), row)
            self._keep(session, request_id, results)
            requests.move(session, row, RequestState.WRITING, repeats=earlier_id)

    def turn(self, request_id: str, run: int, index: int, turn: Turn) -> None:
        """A turn on target `index` happened; the same turn again replaces itself."""
        with self._sessions.begin() as session:
            requests.working(session, request_id, run)
            record, now = turn_record(turn), audit.utc_now()
            session.execute(
                insert(TurnRow)
                .values(
                    request_id=request_id,
                    target_index=index,
                    slice_index=turn.slice_index,
                    turn_index=turn.index,
                    turn=record,
                    at=now,
                )
                .on_conflict_do_update(constraint="pk_turns", set_={"turn": record, "at": now})
            )

    def worked(self, request_id: str, run: int, stage: Stage, seconds: float, passes: int) -> None:
        """A part of the work on targets is done; `passes` of the image encoder were made for it."""
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            row.encoder_passes += passes
            _took(row, stage, seconds)

    def target_done(
        self, request_id: str, run: int, summary: TargetSummary, seconds: float, passes: int
    ) -> None:
        """A target has ended; `passes` of the image encoder were made for it."""
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            target = session.get_one(TargetRow, (request_id, summary.index))
            if target.status is None:
                audit.note(
                    session,
                    f"target.{summary.status}",
                    study=row.study_instance_uid,
                    request_id=row.id,
                    target=summary.index,
                    turns=summary.turns,
                )
            for name, value in asdict(summary).items():
                setattr(target, name, value)
            row.encoder_passes += passes
            _took(row, Stage.FINISH, seconds)

    def targets(self, request_id: str) -> tuple[TargetSummary, ...]:
        """How the targets that have ended did, in order."""
        with self._sessions.begin() as session:
            row = requests.locked(session, request_id)
            ended = [target for target in row.targets if target.status]
            return tuple(reading.as_view(TargetSummary, target) for target in ended)

    def written(
        self, request_id: str, run: int, results: Sequence[WrittenResult], seconds: float
    ) -> None:
        """Stage "write" is done: these are the results."""
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            self._keep(session, request_id, results)
            _took(row, Stage.WRITE, seconds)

    def send(self, request_id: str, run: int) -> None:
        """Queue the deliveries, or hold them back where results are in doubt and the request says
        so; with nowhere to send, the request is DONE.
        """
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            if row.state == RequestState.SENDING:
                return
            row.stage, row.stage_attempts = Stage.SEND, 1
            requests.move(session, row, RequestState.SENDING)
            if row.hold_doubtful and any(target.for_review for target in row.targets):
                requests.hold(session, row)
            requests.queue_deliveries(session, self._jobs, row)
            if not row.deliveries:
                requests.move(session, row, RequestState.DONE)

    def reject(self, request_id: str, run: int, sentence: str) -> None:
        """The study is no volume: `sentence` says why to an administrator."""
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            _end(session, row, RequestState.REJECTED, Stage.SELECT, sentence)

    def fail(self, request_id: str, run: int, stage: Stage, sentence: str) -> None:
        """A stage failed: `sentence` says why."""
        with self._sessions.begin() as session:
            row = requests.working(session, request_id, run)
            _end(session, row, RequestState.FAILED, stage, sentence)

    def _keep(self, session: Session, request_id: str, results: Sequence[WrittenResult]) -> None:
        session.execute(delete(ResultRow).where(ResultRow.request_id == request_id))
        for result in results:
            path = kept_path(result.path, self._storage)
            session.add(ResultRow(request_id=request_id, **asdict(result) | {"path": path}))


def _end(
    session: Session, row: RequestRow, state: RequestState, stage: Stage, sentence: str
) -> None:
    row.error, row.failed_stage = sentence, stage
    requests.move(session, row, state, stage=stage)


def _copy_answer(session: Session, earlier: RequestRow, row: RequestRow) -> None:
    """Let the targets of `row` end as those of `earlier` did, turn by turn; the words in which they
    were asked stay.
    """
    row.repeats = earlier.id
    answered = {field.name for field in fields(TargetSummary)} - {"index", "text", "structure"}
    for target, before in zip(row.targets, earlier.targets, strict=True):
        for name in answered:
            setattr(target, name, getattr(before, name))
    copied = ("target_index", "slice_index", "turn_index", "turn", "at")
    turns = select(literal(row.id), *(getattr(TurnRow, name) for name in copied))
    turns = turns.where(TurnRow.request_id == earlier.id).order_by(TurnRow.number)
    session.execute(
        insert(TurnRow).from_select(["request_id", *copied], turns).on_conflict_do_nothing()
    )


def _worn_out(stage: Stage) -> str:
    return (
        f"stage '{stage}' was begun {STAGE_ATTEMPTS} times and never ended: its worker died each "
        "time (out of memory?); see the log, then retry"
    )


def _took(row: RequestRow, stage: Stage, seconds: float) -> None:
    spent = row.stage_seconds.get(stage, 0.0) + seconds
    row.stage_seconds = {**row.stage_seconds, stage: round(spent, 3)}


def _assignment(session: Session, row: RequestRow) -> Assignment:
    return Assignment(
        request_id=row.id,
        study_instance_uid=row.study_instance_uid,
        study_version=row.study_version,
        series_instance_uid=row.series_instance_uid,
        targets=requests.targets_of(row),
        pair=requests.pair_of(row),
        requested_at=row.created_at,
        ordinal=requests.before_on_study(session, row),
    )
