"""From arriving to complete: indexes the disk, makes versions, and requests by route."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from dicom_node.values import InstanceHeader
from server.record import audit, reading, requests, studies
from server.record.database.engine import Sessions
from server.record.database.jobs import Jobs
from server.record.requests import NewRequest
from server.record.storable import bounded
from server.record.stored_studies import WHOLE, StoredStudyReader
from server.record.tables import RequestRow, StudyRow
from server.record.views import AppliedRoute, StudyRouting, StudyView, Submitted
from server.rules.explained import RouteExplained, explained, why_unrouted
from server.rules.routing import Rules
from server.settings import RouteSettings
from server.values import RequestState

logger = logging.getLogger(__name__)


def _nobodys(study: StudyRow) -> NewRequest:
    """What shows a study of which not even the routes are known: nothing is asked for."""
    return NewRequest(study.study_instance_uid, study.version, (), (), audit.SYSTEM)


def _is_readable(header: InstanceHeader) -> bool:
    return not any(fault.startswith(WHOLE) for fault in header.faults)


class Completion:
    """Called by the listener's intake when a study is quiet, and by the API when a person says so.

    Both work on the same tables under the study's row lock, so it does not matter who is first.
    """

    def __init__(
        self, sessions: Sessions, jobs: Jobs, rules: Rules, stored_studies: StoredStudyReader
    ) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._rules = rules
        self._stored_studies = stored_studies

    def index(self, study_instance_uid: str, *, whatever: bool = False) -> None:
        """Bring the index of a study up to what the disk holds; repeating it adds nothing.

        An instance that cannot be read for now raises; with `whatever` it is indexed with its
        reason, as long as there is another one that can be.
        """
        # counted before anything is read: what comes meanwhile is more than was counted, and found
        # at a start
        files = self._stored_studies.stored.count_files(study_instance_uid)
        with self._sessions.begin() as session:
            indexed = studies.known_instances(session, study_instance_uid)
        # files are read outside any transaction: a slow disk must not hold locks
        headers = list(self._stored_studies.headers(study_instance_uid, indexed, whatever=whatever))
        if whatever and not indexed and not any(map(_is_readable, headers)):
            # nothing of it can be read: that may be the disk, so that nothing is put down for good
            headers = list(self._stored_studies.headers(study_instance_uid, indexed))
        conflicts = self._stored_studies.stored.conflicts(study_instance_uid)
        if files:
            with self._sessions.begin() as session:
                studies.add(session, study_instance_uid, headers, conflicts, files)

    def complete(
        self,
        study_instance_uid: str,
        *,
        actor: str = audit.SYSTEM,
        evidence: str,
        whatever: bool = False,
    ) -> StudyView:
        """Make what is new the next version of a study; nothing new changes nothing.

        The version supersedes requests of earlier ones and gets requests by route, a REJECTED one
        where none of its instances can be read. `whatever` as in `index`. UnknownStudy.
        """
        self.index(study_instance_uid, whatever=whatever)
        with self._sessions.begin() as session:
            study = studies.locked(session, study_instance_uid)
            version = studies.complete(session, study, evidence=evidence, actor=actor)
            why_unreadable = studies.why_unreadable(session, study_instance_uid)
            if version is None:
                for row in requests.rejected_before(session, study_instance_uid, study.version):
                    if why_unreadable is None:
                        requests.move(session, row, RequestState.SUPERSEDED, actor)
            else:
                # requests of earlier versions end first: none of them still sends when its
                # successor begins
                ended = requests.supersede(session, study_instance_uid, version)
                by_route = tuple(self._by_route(session, study, ended))
                study.unrouted_reason = None
                if not by_route and why_unreadable is None:
                    self._note_unrouted(session, study)
                for new in (*by_route, *self._again(study, ended)):
                    requests.create(session, self._jobs, self._rules.catalogue, new)
                if why_unreadable is not None:
                    sentence = f"none of the study's instances can be read: {why_unreadable}"
                    self._reject(session, _nobodys(study), sentence)
            return reading.study(session, study_instance_uid)

    def give_up(self, study_instance_uid: str, sentence: str) -> None:
        """Give up a study that cannot be taken in, for the reason `sentence`.

        It is left alone until something new comes or a person asks again, and a REJECTED request
        shows it.

        That request is by the route that matches what is indexed; by none where that is not known.
        Saying it again adds nothing.
        """
        files = self._stored_studies.stored.count_files(study_instance_uid)
        with self._sessions.begin() as session:
            study = studies.give_up(session, study_instance_uid, sentence, files)
            earlier = requests.rejected_before(session, study.study_instance_uid, study.version)
            for row in earlier:
                row.error, row.updated_at = study.fault, audit.utc_now()
            if not earlier:
                for new in tuple(self._by_route(session, study, ())) or (_nobodys(study),):
                    self._reject(session, new, sentence)

    def _reject(self, session: Session, new: NewRequest, sentence: str) -> None:
        requests.create_rejected(
            session, self._jobs.pipeline_version, self._rules.catalogue, new, sentence
        )

    def unsettled(self) -> tuple[str, ...]:
        """Studies that a start must look at: not ended, or with other files than when they ended.

        Folders are listed, no file is opened.
        """
        with self._sessions.begin() as session:
            settled = studies.settled(session)
        return tuple(
            uid
            for uid, files in self._stored_studies.stored.counted_studies()
            if uid not in settled or not settled[uid].over or settled[uid].files != files
        )

    def _by_route(
        self, session: Session, study: StudyRow, ended: Sequence[RequestRow]
    ) -> Iterator[NewRequest]:
        """A request for each route that the study matches."""
        earlier = {row.route: row.id for row in ended}
        attributes = studies.attributes(session, study.study_instance_uid)
        for route in self._rules.matching(attributes):
            yield self._of_route(study, route, earlier.get(route.name))

    def _of_route(
        self, study: StudyRow, route: RouteSettings, supersedes: str | None = None
    ) -> NewRequest:
        return NewRequest(
            study_instance_uid=study.study_instance_uid,
            study_version=study.version,
            targets=self._rules.targets(route.targets),
            destinations=route.destinations or self._rules.destinations,
            actor=f"route:{route.name}",
            pair=self._rules.pair(None, None),
            route=route.name,
            supersedes=supersedes,
            hold_doubtful=route.doubtful == "hold",
        )

    def route(self, session: Session, study: StudyRow, *, actor: str) -> StudyRouting:
        """Apply the present routes to a complete study that is here, locked in `session`.

        It gets the requests that it would get if it arrived now, but none that was made for this
        version before.
        """
        attributes = studies.attributes(session, study.study_instance_uid)
        explanations = [explained(route, attributes) for route in self._rules.routes]
        applied = tuple(
            self._applied(session, study, route, explanation)
            for route, explanation in zip(self._rules.routes, explanations, strict=True)
        )
        matching = [route for route in applied if route.matches]
        study.unrouted_reason = None if matching else bounded(why_unrouted(explanations))
        audit.note(
            session,
            "study.routed",
            actor=actor,
            study=study.study_instance_uid,
            version=study.version,
            matching=[route.name for route in matching],
            made=[route.request.id for route in matching if route.made and route.request],
        )
        return StudyRouting(study.study_instance_uid, study.version, applied, study.unrouted_reason)

    def _applied(
        self, session: Session, study: StudyRow, route: RouteSettings, explanation: RouteExplained
    ) -> AppliedRoute:
        row, made = None, False
        if explanation.matches:
            new = self._of_route(study, route)
            row = requests.standing(session, new)
            if row is None:
                made = True
                row = requests.create(session, self._jobs, self._rules.catalogue, new)
        return AppliedRoute(
            explanation.name,
            explanation.matches,
            explanation.conditions,
            explanation.why_not,
            None if row is None else Submitted(row.id, RequestState(row.state)),
            made,
        )

    def _note_unrouted(self, session: Session, study: StudyRow) -> None:
        """Leave a trace of a study that nothing is done about, for who wonders why."""
        uid, count = study.study_instance_uid, len(self._rules.routes)
        attributes = studies.attributes(session, uid)
        why = why_unrouted([explained(route, attributes) for route in self._rules.routes])
        study.unrouted_reason = bounded(why)
        if not count:  # whoever configured none expects none
            return
        audit.note(session, "study.unrouted", study=uid, version=study.version, routes=count)
        logger.warning(
            "study %s matches no route of the %d configured: nothing is segmented by itself; ask "
            "with `segnode request %s --target ...`, or change [[routes]] and say `segnode route "
            "%s`",
            uid,
            count,
            uid,
            uid,
        )

    def _again(self, study: StudyRow, ended: Sequence[RequestRow]) -> Iterator[NewRequest]:
        """What people asked of the earlier version, asked of this one."""
        for row in ended:
            # what was given up before anybody asked for anything has no targets
            if row.route is None and row.targets:
                yield NewRequest(
                    study_instance_uid=study.study_instance_uid,
                    study_version=study.version,
                    targets=requests.targets_of(row),
                    destinations=requests.destinations_of(row, self._rules.destinations),
                    actor=row.actor,
                    series_instance_uid=row.series_instance_uid,
                    pair=requests.pair_of(row),
                    priority=row.priority,
                    supersedes=row.id,
                    hold_doubtful=row.hold_doubtful,
                )
