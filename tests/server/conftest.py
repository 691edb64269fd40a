"""What the server's tests share: a record on a real database, a shelf that holds what a test puts
on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dicom_node.values import InstanceHeader, StoredInstance
from server.fakes import FakeStages, FolderDestination
from server.record.database.engine import Sessions, open_engine
from server.record.database.jobs import PIPELINE_VERSION, DbosJobs
from server.record.deliveries import Deliveries
from server.record.processes.workers import Workers
from server.record.record import Record
from server.record.runs import Runs
from server.record.stored_studies import StoredStudyReader
from server.rules.catalogue import Catalogue, load_catalogue
from server.rules.routing import ModelSelector, Rules, as_said
from server.settings import RouteSettings
from server.values import ENDED_STATES, RequestState
from server.work.delivery import RetryPolicy
from server.work.worker import Worker

T = TypeVar("T")
STUDY = "1.2.826.0.1.3680043.8.498.1"


@dataclass
class HeldStudies:
    """An inbox in memory: what a test puts is there."""

    headers: dict[Path, InstanceHeader] = field(default_factory=dict)
    conflicting: list[StoredInstance] = field(default_factory=list)

    def put(
        self, count: int, *, study: str = STUDY, series: int = 1, first: int = 1, **fields: Any
    ) -> None:
        """Add `count` CT slices numbered from `first`."""
        for number in range(first, first + count):
            uid = f"{study}.{series}"
            path = Path(f"/inbox/{study}/{uid}/{uid}.{number}.dcm")
            values: dict[str, Any] = {
                "modality": "CT",
                "attributes": {"Modality": "CT", "StudyDescription": "Abdomen^routine"},
                "instance_number": number,
                "series_number": series,
                "manufacturer": "ACME",
            } | fields
            self.headers[path] = InstanceHeader(
                path=path,
                study_instance_uid=study,
                series_instance_uid=uid,
                sop_instance_uid=f"{uid}.{number}",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                **values,
            )

    def read_header(self, path: Path) -> InstanceHeader:
        return self.headers[path]

    def counted_studies(self) -> Iterator[tuple[str, int]]:
        for study in sorted({header.study_instance_uid for header in self.headers.values()}):
            yield study, self.count_files(study)

    def count_files(self, study_instance_uid: str) -> int:
        return len(self.instances(study_instance_uid)) + len(self.conflicts(study_instance_uid))

    def instances(self, study_instance_uid: str) -> list[StoredInstance]:
        return [
            StoredInstance(
                path=header.path,
                study_instance_uid=header.study_instance_uid,
                series_instance_uid=header.series_instance_uid,
                sop_instance_uid=header.sop_instance_uid,
                sop_class_uid=header.sop_class_uid,
                sha256="ab",
            )
            for header in self.headers.values()
            if header.study_instance_uid == study_instance_uid
        ]

    def conflicts(self, study_instance_uid: str) -> list[StoredInstance]:
        return [c for c in self.conflicting if c.study_instance_uid == study_instance_uid]


@dataclass
class Desk:
    """Everything of the record, on one fresh database."""

    url: str
    held: HeldStudies
    catalogue: Catalogue
    rules: Rules
    sessions: Sessions
    jobs: DbosJobs
    record: Record
    runs: Runs
    deliveries: Deliveries
    workers: Workers

    def complete_study(self, slices: int = 3) -> str:
        """A complete CT study; its UID."""
        self.held.put(slices)
        self.record.complete(STUDY, actor="test")
        return STUDY

    def request(self, *targets: str, destinations: tuple[str, ...] = ("pacs",)) -> str:
        """A request on a complete study; its id."""
        study = self.complete_study()
        submitted = self.record.submit(
            study, targets or ("liver",), destinations=destinations, actor="test"
        )
        return submitted.id

    def events(self, request_id: str | None = None) -> list[str]:
        """The audit trail's events, of one request or of everything."""
        return [
            line.event
            for line in self.record.audit()
            if request_id is None or line.request_id == request_id
        ]

    def wait_for_end(self, request_id: str, limit_s: float = 60.0) -> RequestState:
        """The state in which a request ends."""

        def ended() -> RequestState | None:
            state = self.record.request(request_id).state
            return state if state in ENDED_STATES else None

        return wait_until(ended, limit_s)


def wait_until(answer: Callable[[], T | None], limit_s: float = 30.0) -> T:
    """The first true answer; fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = answer()
        if found:
            return found
        time.sleep(0.05)
    return pytest.fail(f"nothing came of it within {limit_s:.0f} s")


@pytest.fixture
def until() -> Callable[..., object]:
    """`wait_until`: the first true answer of a function, or a failure."""
    return wait_until


@pytest.fixture
def make_desk(database_url: str) -> Iterator[Callable[..., Desk]]:
    """A record with routes and destinations as wanted."""
    made: list[Desk] = []

    def make(
        *routes: RouteSettings,
        destinations: tuple[str, ...] = ("pacs", "archive"),
        pipeline_version: int = PIPELINE_VERSION,
        held: HeldStudies | None = None,
        pair: ModelSelector = as_said,
    ) -> Desk:
        held = held or HeldStudies()
        catalogue = load_catalogue()
        rules = Rules(catalogue, destinations, routes, max_targets=20, pair=pair)
        sessions = Sessions(open_engine(database_url))
        jobs = DbosJobs(database_url, pipeline_version)
        shelf = StoredStudyReader(held, held.read_header)
        desk = Desk(
            url=database_url,
            held=held,
            catalogue=catalogue,
            rules=rules,
            sessions=sessions,
            jobs=jobs,
            record=Record(sessions, jobs, rules, shelf),
            runs=Runs(sessions, jobs),
            deliveries=Deliveries(sessions, jobs),
            workers=Workers(sessions),
        )
        made.append(desk)
        return desk

    yield make
    for desk in made:
        desk.jobs.close()
        desk.sessions.engine.dispose()


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    """A record without routes, with the destinations "pacs" and "archive"."""
    return make_desk()


@pytest.fixture
def start_worker(desk: Desk, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Starts the one worker a process can have; `settings` are further ones of Worker."""
    started: list[Worker] = []

    def start(
        stage_hook: Callable[[str], None] = lambda _: None,
        send_hook: Callable[[str], None] = lambda _: None,
        attempts: int = 3,
        models: str | None = None,
        **settings: Any,
    ) -> Worker:
        pacs = FolderDestination("pacs", _folder(tmp_path / "pacs"), send_hook)
        archive = FolderDestination("archive", _folder(tmp_path / "archive"))
        worker = Worker(
            desk.url,
            FakeStages(_folder(tmp_path / "work"), stage_hook, models),
            {"pacs": pacs, "archive": archive},
            RetryPolicy(attempts, delay_s=0.05, maximum_delay_s=0.2),
            **settings,
        )
        worker.start()
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.stop(grace_s=0)


def _folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path
