"""The record for HTTP, commands and intake: each call a transaction, each answer a frozen value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from server.errors import StudyIncomplete, UnknownStudy, WrongState
from server.record import audit, lists, reading, requests, studies
from server.record.completion import Completion
from server.record.database.engine import Sessions
from server.record.database.jobs import Jobs
from server.record.requests import DEFAULT_PRIORITY, NewRequest
from server.record.stored_studies import StoredStudyReader
from server.record.tables import RequestRow, StudyRow
from server.record.views import (
    FIRST_PAGE,
    AuditView,
    Page,
    RequestSummary,
    RequestView,
    StudyRouting,
    StudySummary,
    StudyView,
    Submitted,
    TurnView,
)
from server.rules.routing import Rules
from server.values import RequestState, StudyState


class Record:
    """Studies and requests. Every method may raise RecordUnavailable; nothing is half done then.

    `jobs` hands work over in the same transaction, `rules` is what the site configured,
    `stored_studies` the inbox on disk.
    """

    def __init__(
        self, sessions: Sessions, jobs: Jobs, rules: Rules, stored_studies: StoredStudyReader
    ) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._rules = rules
        self._stored_studies = stored_studies
        self.completion = Completion(sessions, jobs, rules, stored_studies)

    def submit(
        self,
        study_instance_uid: str,
        targets: Sequence[str],
        *,
        series_instance_uid: str | None = None,
        destinations: Sequence[str] | None = None,
        priority: int = DEFAULT_PRIORITY,
        policy: str | None = None,
        segmenter: str | None = None,
        force: bool = False,
        actor: str,
    ) -> Submitted:
        """Make a request on a complete study; lower `priority` comes first (1..1000).

        One that asks the same of the same models as one before gives that one's results again,
        unless `force`. `policy` and `segmenter` are who works on it, None for the site's own.
        NoTargets, BadTarget, TooManyTargets, UnknownDestination, UnknownStudy, StudyIncomplete, and
        models.errors for a pair that is not here.
        """
        resolved_targets, pair = self._rules.targets(targets), self._rules.pair(policy, segmenter)
        with self._sessions.begin() as session:
            study = self._complete_study(session, study_instance_uid)
            if series_instance_uid is not None:
                studies.check_series(session, study_instance_uid, series_instance_uid)
            attributes = studies.attributes(session, study_instance_uid)
            new = NewRequest(
                study_instance_uid=study_instance_uid,
                study_version=study.version,
                targets=resolved_targets,
                destinations=self._rules.where_to(destinations, attributes),
                actor=actor,
                series_instance_uid=series_instance_uid,
                pair=pair,
                priority=priority,
                hold_doubtful=self._rules.holds_doubtful(attributes),
                forced=force,
            )
            row = requests.create(session, self._jobs, self._rules.catalogue, new)
            return Submitted(row.id, RequestState(row.state))

    def _complete_study(self, session: Session, study_instance_uid: str) -> StudyRow:
        try:
            study = studies.locked(session, study_instance_uid)
        except UnknownStudy:
            if self._stored_studies.stored.count_files(study_instance_uid):
                raise StudyIncomplete(_still_arriving(study_instance_uid)) from None
            raise
        if study.state != StudyState.COMPLETE:
            if study.fault is not None:
                raise StudyIncomplete(study.fault)
            raise StudyIncomplete(_still_arriving(study_instance_uid))
        return study

    def request(self, request_id: str) -> RequestView:
        """One request whole; UnknownRequest."""
        with self._sessions.begin() as session:
            return reading.request(session, request_id)

    def requests(
        self,
        page: Page = FIRST_PAGE,
        *,
        state: RequestState | None = None,
        study_instance_uid: str | None = None,
    ) -> tuple[RequestSummary, ...]:
        """A page of requests, of one state or one study where that is given."""
        with self._sessions.begin() as session:
            return lists.requests(session, page, state, study_instance_uid)

    def turns(self, request_id: str) -> tuple[TurnView, ...]:
        """Every turn of a request, by target, in order; UnknownRequest."""
        with self._sessions.begin() as session:
            return reading.turns(session, request_id)

    def turn(self, request_id: str, n: int) -> TurnView:
        """The turn with number `n`, from 0, among those of `turns`; UnknownRequest, UnknownTurn."""
        with self._sessions.begin() as session:
            return reading.turn(session, request_id, n)

    def retry(self, request_id: str, *, actor: str) -> RequestView:
        """Begin a FAILED request again from what failed: results that were written are only sent.

        One that is SENDING tries what is not delivered now, not at its next time. UnknownRequest;
        WrongState for a request in any other state.
        """
        with self._sessions.begin() as session:
            row = requests.locked(session, request_id)
            if row.state not in (RequestState.FAILED, RequestState.SENDING):
                raise WrongState(
                    "only a FAILED request can be tried again, or one that is SENDING now; "
                    f"this one is {row.state}: make a new request for the same"
                )
            if requests.is_on_hold(row):
                raise WrongState(
                    "its results are held back for review: release the request to send them, or "
                    "cancel it"
                )
            requests.begin_anew(session, self._jobs, row, actor=actor, reason="retry")
            return _view(session, row)

    def release(self, request_id: str, *, actor: str) -> RequestView:
        """Send results that were held back because they are in doubt; UnknownRequest, WrongState
        where none are.
        """
        with self._sessions.begin() as session:
            row = requests.locked(session, request_id)
            requests.release(session, self._jobs, row, actor)
            return _view(session, row)

    def cancel(self, request_id: str, *, actor: str) -> RequestView:
        """End a request that has not ended; work on it stops at its next turn.

        UnknownRequest; WrongState for one that has ended.
        """
        with self._sessions.begin() as session:
            row = requests.locked(session, request_id)
            requests.move(session, row, RequestState.CANCELLED, actor)
            return _view(session, row)

    def studies(
        self, page: Page = FIRST_PAGE, *, unrouted: bool | None = None
    ) -> tuple[StudySummary, ...]:
        """A page of studies, of those that no route matched where `unrouted` is True."""
        with self._sessions.begin() as session:
            return lists.studies(session, page, unrouted)

    def study(self, study_instance_uid: str) -> StudyView:
        """One study whole; UnknownStudy."""
        with self._sessions.begin() as session:
            return reading.study(session, study_instance_uid)

    def audit(
        self, *, limit: int = 1000, offset: int = 0, since: datetime | None = None
    ) -> tuple[AuditView, ...]:
        """The audit trail, oldest first, from `since` (aware) on."""
        with self._sessions.begin() as session:
            return audit.read(session, limit=limit, offset=offset, since=since)

    def complete(self, study_instance_uid: str, *, actor: str) -> StudyView:
        """Hold a study for whole now, whatever may still come; see Completion. UnknownStudy."""
        return self.completion.complete(study_instance_uid, actor=actor, evidence="forced")

    def route(self, study_instance_uid: str, *, actor: str) -> StudyRouting:
        """Apply the present routes to a complete study that is here; see Completion.

        UnknownStudy, StudyIncomplete.
        """
        with self._sessions.begin() as session:
            study = self._complete_study(session, study_instance_uid)
            return self.completion.route(session, study, actor=actor)


def _view(session: Session, row: RequestRow) -> RequestView:
    session.flush()
    return reading.request_view(row)


def _still_arriving(study_instance_uid: str) -> str:
    return (
        f"the study {study_instance_uid} is still arriving: wait for its quiet time, "
        "or POST /studies/{uid}/complete if it is whole"
    )
