"""From arriving to complete: the index follows the disk, what is new makes a version, routes make requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from server.record import audit, reading, requests, studies
from server.record.engine import Sessions
from server.record.jobs import Jobs
from server.record.requests import NewRequest
from server.record.tables import RequestRow, StudyRow
from server.record.views import StudyView
from server.routing import Rules
from server.shelf import Shelf


class Completion:
    """Called by the listener's intake when a study is quiet, and by the API when a person says so.

    Both work on the same tables under the study's row lock, so it does not matter who is first.
    """

    def __init__(self, sessions: Sessions, jobs: Jobs, rules: Rules, shelf: Shelf) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._rules = rules
        self._shelf = shelf

    def index(self, study_instance_uid: str) -> None:
        """Bring the index of a study up to what the disk holds; repeating it adds nothing."""
        with self._sessions.begin() as session:
            known = studies.known_instances(session, study_instance_uid)
        # files are read outside any transaction: a slow disk must not hold locks
        headers = list(self._shelf.headers(study_instance_uid, known))
        conflicts = self._shelf.stored.conflicts(study_instance_uid)
        if headers or conflicts:
            with self._sessions.begin() as session:
                studies.add(session, study_instance_uid, headers, conflicts)

    def complete(
        self, study_instance_uid: str, *, actor: str = audit.SYSTEM, evidence: str
    ) -> StudyView:
        """The study is whole: what is new makes the next version, which supersedes requests of earlier ones
        and gets requests by route. Nothing new changes nothing. UnknownStudy.
        """
        self.index(study_instance_uid)
        with self._sessions.begin() as session:
            study = studies.locked(session, study_instance_uid)
            version = studies.complete(session, study, evidence=evidence, actor=actor)
            if version is not None:
                # requests of earlier versions end first: none of them still sends when its successor begins
                ended = requests.supersede(session, study_instance_uid, version)
                for new in (*self._by_route(session, study, ended), *self._again(study, ended)):
                    requests.create(session, self._jobs, self._rules.catalogue, new)
            return reading.study(session, study_instance_uid)

    def unsettled(self) -> tuple[str, ...]:
        """Studies on disk that are not complete in the record, or hold more than it has indexed: noted at a start."""
        with self._sessions.begin() as session:
            indexed = studies.complete_studies(session)
        stored = self._shelf.stored
        return tuple(
            uid for uid in stored.studies() if len(stored.instances(uid)) > indexed.get(uid, -1)
        )

    def _by_route(
        self, session: Session, study: StudyRow, ended: Sequence[RequestRow]
    ) -> Iterator[NewRequest]:
        """A request for each route that the study matches."""
        earlier = {row.route: row.id for row in ended}
        held = studies.attributes(session, study.study_instance_uid)
        for route in self._rules.matching(held):
            yield NewRequest(
                study_instance_uid=study.study_instance_uid,
                study_version=study.version,
                targets=self._rules.targets(route.targets),
                destinations=route.destinations or self._rules.destinations,
                actor=f"route:{route.name}",
                pair=self._rules.pair(None, None),
                route=route.name,
                supersedes=earlier.get(route.name),
            )

    def _again(self, study: StudyRow, ended: Sequence[RequestRow]) -> Iterator[NewRequest]:
        """What people asked of the earlier version, asked of this one."""
        for row in ended:
            if row.route is None:
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
                )
