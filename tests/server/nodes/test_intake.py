"""From arrivals to requests, with the real watch on a clock of our own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dicom_node.receive.study_completeness import StudyWatch
from dicom_node.values import Arrival, KeptAs, StoredInstance
from server.errors import RecordRefused, RecordUnavailable
from server.nodes.intake import ATTEMPTS, FIRST_WAIT_S, Intake
from server.settings import RouteSettings
from tests.server.conftest import Desk

STUDY = "1.2.826.0.1.3680043.8.498.1"
QUIET_S = 10.0
ROUTE = RouteSettings(name="abdomen", when={"Modality": "CT"}, targets=("liver",))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Bench:
    """A watch, an inbox in memory and an intake, on one clock."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.clock = Clock()
        self.watch = StudyWatch(self.clock)
        self.intake = Intake(self.watch, self.open_record, QUIET_S, self.clock)
        self.away = False

    def open_record(self) -> Any:
        if self.away:
            raise RecordUnavailable("away")
        return self.desk.record.completion

    def arrive(
        self, count: int, first: int = 1, kept_as: KeptAs = KeptAs.NEW, **fields: Any
    ) -> None:
        """One association brings `count` instances and closes."""
        study = fields.get("study", STUDY)
        before = set(self.desk.held.headers)
        self.desk.held.put(count, first=first, **fields)
        self.watch.association_opened("a")
        for stored in self.desk.held.instances(study):
            if stored.path not in before or kept_as is KeptAs.SAME:
                self.watch.arrived("a", _arrival(stored, kept_as))
        self.watch.association_closed("a")

    def pass_time(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.intake.tick()


def _arrival(stored: StoredInstance, kept_as: KeptAs) -> Arrival:
    return Arrival(stored, kept_as, "CT1", "127.0.0.1", datetime.now(UTC))


@pytest.fixture
def starting(make_desk: Callable[..., Desk]) -> Bench:
    """An intake that has not looked at anything yet."""
    return Bench(make_desk(ROUTE))


@pytest.fixture
def bench(starting: Bench) -> Bench:
    """An intake that runs."""
    starting.pass_time(0)
    return starting


def test_headers_are_indexed_at_once_and_the_study_completes_when_quiet(bench: Bench) -> None:
    bench.arrive(3)
    bench.pass_time(1)
    before = bench.desk.record.study(STUDY).summary
    bench.pass_time(QUIET_S)
    after = bench.desk.record.study(STUDY).summary
    assert (before.state, before.instances, before.version) == ("RECEIVING", 3, 0)
    assert (after.state, after.version) == ("COMPLETE", 1)
    assert [one.route for one in bench.desk.record.requests()] == ["abdomen"]
    assert bench.desk.record.study(STUDY).versions[0].evidence == "quiet"


def test_late_slices_supersede(bench: Bench) -> None:
    bench.arrive(3)
    bench.pass_time(QUIET_S)
    bench.arrive(2, first=4)
    bench.pass_time(QUIET_S)
    assert [(one.state, one.study_version) for one in bench.desk.record.requests()] == [
        ("SUPERSEDED", 1),
        ("QUEUED", 2),
    ]


def test_the_same_instances_again_change_nothing(bench: Bench) -> None:
    bench.arrive(3)
    bench.pass_time(QUIET_S)
    before = bench.desk.events()
    bench.arrive(3, kept_as=KeptAs.SAME)
    bench.pass_time(QUIET_S)
    assert bench.desk.events() == before


def test_what_was_on_disk_at_a_start_is_quiet_first(starting: Bench) -> None:
    # Arrange: received before the node went down
    starting.desk.held.put(3)

    # Act
    starting.pass_time(0)
    at_start = starting.desk.record.requests()
    starting.pass_time(QUIET_S)

    # Assert
    assert at_start == ()
    assert len(starting.desk.record.requests()) == 1


def test_what_was_complete_at_a_start_stays(bench: Bench) -> None:
    bench.arrive(3)
    bench.pass_time(QUIET_S)
    again = Bench(bench.desk)
    again.pass_time(0)
    again.pass_time(QUIET_S)
    assert len(bench.desk.record.requests()) == 1
    assert again.watch.waiting() == []


def test_nothing_is_lost_while_the_database_is_away(starting: Bench) -> None:
    # Arrange
    starting.away = True
    starting.arrive(3)
    for _ in range(3):
        with pytest.raises(RecordUnavailable):
            starting.pass_time(QUIET_S)

    # Act
    starting.away = False
    starting.pass_time(0)
    starting.pass_time(QUIET_S)

    # Assert
    assert len(starting.desk.record.requests()) == 1


def test_a_study_that_cannot_be_taken_in_holds_up_no_other(bench: Bench) -> None:
    # Arrange: the first study's headers cannot be read for now
    bad, good = f"{STUDY}.1", f"{STUDY}.2"
    real = bench.desk.held.read_header
    broken = {bad}

    def read(path: Any) -> Any:
        if bench.desk.held.headers[path].study_instance_uid in broken:
            raise OSError("input/output error")
        return real(path)

    object.__setattr__(bench.desk.record.completion._stored_studies, "read_header", read)
    bench.arrive(1, study=bad)
    bench.arrive(1, study=good)

    # Act
    bench.pass_time(QUIET_S)
    first = [one.study_instance_uid for one in bench.desk.record.requests()]
    broken.clear()
    bench.pass_time(2 * FIRST_WAIT_S)

    # Assert
    assert first == [good]
    assert [one.study_instance_uid for one in bench.desk.record.requests()] == [good, bad]


def broken_disk(bench: Bench, *studies: str) -> set[str]:
    """Studies whose files cannot be read, until they are taken out of the set."""
    broken, real = set(studies), bench.desk.held.read_header

    def read(path: Any) -> Any:
        if bench.desk.held.headers[path].study_instance_uid in broken:
            raise ValueError("could not convert string to float: 'Miller^Anna'")
        return real(path)

    object.__setattr__(bench.desk.record.completion._stored_studies, "read_header", read)
    return broken


def give_every_chance(bench: Bench) -> None:
    """Let the time pass in which a study is tried."""
    for attempt in range(ATTEMPTS):
        bench.pass_time(FIRST_WAIT_S * 2**attempt)


def test_a_study_that_stays_broken_is_rejected_with_one_sentence(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    # Arrange
    bad, good = f"{STUDY}.1", f"{STUDY}.2"
    broken_disk(bench, bad)
    bench.arrive(1, study=bad)

    # Act
    bench.pass_time(QUIET_S)
    give_every_chance(bench)
    bench.arrive(1, study=good)
    bench.pass_time(QUIET_S)

    # Assert
    rejected, queued = bench.desk.record.requests()
    assert (rejected.state, rejected.failed_stage) == ("REJECTED", "index")
    assert rejected.error.startswith("the study could not be taken in, 5 times: ")
    assert (queued.state, queued.study_instance_uid) == ("QUEUED", good)
    assert bench.desk.record.study(bad).summary.fault == rejected.error
    for words in (rejected.error, caplog.text):
        assert "Miller" not in words
    assert "test_intake.py" in caplog.text
    assert "ValueError" not in rejected.error


def test_a_rejected_study_is_left_alone_also_after_a_restart(bench: Bench) -> None:
    # Arrange
    broken_disk(bench, STUDY)
    bench.arrive(1)
    bench.pass_time(QUIET_S)
    give_every_chance(bench)
    reads: list[str] = []
    object.__setattr__(bench.desk.record.completion._stored_studies, "read_header", reads.append)

    # Act
    again = Bench(bench.desk)
    for _ in range(20):
        again.pass_time(QUIET_S)

    # Assert
    assert again.watch.waiting() == []
    assert reads == []
    assert len(bench.desk.record.requests()) == 1


def test_new_instances_give_a_rejected_study_its_next_chance(bench: Bench) -> None:
    # Arrange
    broken = broken_disk(bench, STUDY)
    bench.arrive(1)
    bench.pass_time(QUIET_S)
    give_every_chance(bench)

    # Act
    broken.clear()
    bench.arrive(1, first=2)
    bench.pass_time(0)
    bench.pass_time(QUIET_S)

    # Assert
    assert [one.state for one in bench.desk.record.requests()] == ["SUPERSEDED", "QUEUED"]
    summary = bench.desk.record.study(STUDY).summary
    assert (summary.fault, summary.version, summary.instances) == (None, 1, 2)


def test_one_instance_that_cannot_be_read_hides_the_others_only_for_a_while(bench: Bench) -> None:
    # Arrange: the disk fails for one of three
    real = bench.desk.held.read_header

    def read(path: Any) -> Any:
        if path.name.endswith(".1.2.dcm"):
            raise OSError(5, "Input/output error")
        return real(path)

    object.__setattr__(bench.desk.record.completion._stored_studies, "read_header", read)
    bench.arrive(3)

    # Act
    bench.pass_time(QUIET_S)
    give_every_chance(bench)

    # Assert
    study = bench.desk.record.study(STUDY)
    assert (study.summary.version, study.summary.instances) == (1, 3)
    assert [one.sop_instance_uid for one in study.faulty] == [f"{STUDY}.1.2"]
    assert [one.state for one in bench.desk.record.requests()] == ["QUEUED"]


def test_waits_grow_between_tries(bench: Bench) -> None:
    broken_disk(bench, STUDY)
    reads: list[float] = []
    known = bench.desk.held.instances

    def instances(uid: str) -> Any:
        reads.append(bench.clock.now_s)
        return known(uid)

    bench.desk.held.instances = instances
    bench.arrive(1)

    reads.clear()
    for _ in range(80):
        bench.pass_time(0.5)

    apart = [later - earlier for earlier, later in itertools.pairwise(dict.fromkeys(reads))]
    assert apart == [1.0, 2.0, 4.0, 8.0]


def test_a_study_that_cannot_even_be_rejected_holds_up_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    # Arrange
    bad, good = f"{STUDY}.1", f"{STUDY}.2"
    broken_disk(bench, bad)

    def refuse(*_: object) -> None:
        raise RecordRefused("PostgreSQL refused it (SQLSTATE 54000)", sqlstate="54000")

    bench.desk.record.completion.give_up = refuse
    bench.arrive(1, study=bad)

    # Act
    bench.pass_time(QUIET_S)
    give_every_chance(bench)
    bench.arrive(1, study=good)
    for _ in range(20):
        bench.pass_time(QUIET_S)

    # Assert
    assert [one.study_instance_uid for one in bench.desk.record.requests()] == [good]
    # after the first tries it is left alone for longer and longer
    assert caplog.text.count(f"study {bad} could not be taken in") < 10


def test_a_study_without_a_route_is_complete_and_waits_to_be_asked(bench: Bench) -> None:
    bench.arrive(2, modality="MR", attributes={"Modality": "MR"})
    bench.pass_time(QUIET_S)
    assert bench.desk.record.study(STUDY).summary.state == "COMPLETE"
    assert bench.desk.record.requests() == ()


def test_the_thread_works_and_stops(bench: Bench, until: Any) -> None:
    bench.arrive(3)
    bench.clock.now_s += QUIET_S
    bench.intake.start()
    until(lambda: bench.desk.record.requests())
    bench.intake.stop()
    assert len(bench.desk.record.requests()) == 1
