"""The parts of a node in the record: whose rows count, and how old they are."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from server.pulses import Part, PulseState
from server.record.processes.parts import PartTable
from server.record.processes.workers import WorkerIdentity
from tests.server.conftest import Desk

MOVING = PulseState(Part.LISTENER, 0.5, 10.0, "accept")


@pytest.fixture
def me() -> WorkerIdentity:
    return WorkerIdentity.of_this_process()


@pytest.fixture
def table(desk: Desk, me: WorkerIdentity) -> PartTable:
    return PartTable(desk.sessions, me)


def move_back(desk: Any, interval: str) -> None:
    """Let all rows be `interval` older."""
    with desk.sessions.begin() as session:
        session.execute(
            text("UPDATE parts SET published_at = published_at - CAST(:by AS interval)"),
            {"by": interval},
        )


def test_a_part_is_as_old_as_it_was_and_grows_older_in_silence(
    desk: Desk, table: PartTable
) -> None:
    table.publish([MOVING, PulseState(Part.INTAKE, 200.0, 120.0, "", "it fails")])
    fresh = table.parts()
    move_back(desk, "60 s")
    stale = table.parts()

    assert [each.part for each in fresh] == [Part.INTAKE, Part.LISTENER]
    assert fresh[0].age_s == pytest.approx(200.0, abs=5)
    assert fresh[0].fault == "it fails"
    assert stale[1].age_s == pytest.approx(60.5, abs=5)
    assert stale[1].silent_s == pytest.approx(60.0, abs=5)
    assert stale[1].here


def test_the_next_heartbeat_replaces_the_last(desk: Desk, table: PartTable) -> None:
    table.publish([MOVING])
    move_back(desk, "60 s")
    table.publish([replace(MOVING, doing="again")])

    [part] = table.parts()

    assert part.age_s < 10
    assert part.doing == "again"


def test_a_clock_that_was_set_back_shows(desk: Desk, table: PartTable) -> None:
    table.publish([MOVING])
    move_back(desk, "-1 day")

    assert table.parts()[0].silent_s == pytest.approx(-86_400, abs=60)


def test_a_process_that_ended_has_no_parts(
    desk: Desk, table: PartTable, me: WorkerIdentity
) -> None:
    # Arrange: one that ended, one that signed off, one elsewhere
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = replace(me, executor_id="gone", process_id=ended.pid, process_started="1")
    left = PartTable(desk.sessions, replace(me, executor_id="left"))
    elsewhere = replace(me, executor_id="elsewhere", machine="other", process_id=ended.pid)
    for one in (PartTable(desk.sessions, gone), left, PartTable(desk.sessions, elsewhere)):
        one.publish([MOVING])

    # Act
    left.leave()

    # Assert
    assert [part.here for part in table.parts()] == [False]


def test_old_rows_are_swept_away(desk: Desk, table: PartTable, me: WorkerIdentity) -> None:
    table.publish([MOVING])
    move_back(desk, "2 days")
    dead = PartTable(desk.sessions, replace(me, executor_id="dead", process_started="1"))
    dead.publish([MOVING])
    PartTable(desk.sessions, replace(me, executor_id="alive")).publish([MOVING])

    table.sweep()

    with desk.sessions.begin() as session:
        assert list(session.scalars(text("SELECT executor_id FROM parts"))) == ["alive"]
