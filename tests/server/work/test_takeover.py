"""Who is alive, and what the dead leave behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOSClient
from sqlalchemy import text

from server.errors import RecordUnavailable
from server.record.database.jobs import PIPELINE_VERSION, open_client
from server.record.processes.workers import WorkerIdentity, Workers
from server.work.takeover import Heartbeat, hasten_deliveries, renew_older, resume_orphans
from tests.server.conftest import Desk


@pytest.fixture
def me() -> WorkerIdentity:
    return WorkerIdentity.of_this_process()


@pytest.fixture
def client(desk: Desk) -> Iterator[DBOSClient]:
    client = open_client(desk.url)
    yield client
    client.destroy()


def pretend_running(desk: Any, request_id: str, executor_id: str) -> None:
    """Make a queued workflow look as if `executor_id` had begun it."""
    with desk.sessions.begin() as session:
        session.execute(
            text(
                "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = :executor "
                "WHERE workflow_uuid = :id"
            ),
            {"executor": executor_id, "id": request_id},
        )


def status(client: Any, request_id: str) -> str:
    return str(client.retrieve_workflow(request_id).get_status().status)


def test_identities_are_never_the_same_twice() -> None:
    assert WorkerIdentity.of_this_process() != WorkerIdentity.of_this_process()


def test_this_process_is_not_gone_and_an_ended_one_is(me: WorkerIdentity) -> None:
    # Arrange
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    # Act, Assert
    assert not me.is_gone()
    assert replace(me, process_id=ended.pid, process_started="1").is_gone()
    assert replace(me, process_started="1").is_gone()  # the number belongs to another process now
    assert not replace(me, machine="elsewhere", process_id=ended.pid).is_gone()


def test_the_ended_are_buried_at_once_the_silent_after_a_while(
    desk: Desk, me: WorkerIdentity
) -> None:
    # Arrange: one certainly dead, one elsewhere that has been silent for a minute, one alive
    dead = replace(me, executor_id="dead", process_started="1")
    silent = replace(me, executor_id="silent", machine="elsewhere")
    for worker in (dead, silent, me):
        desk.workers.beat(worker)
    with desk.sessions.begin() as session:
        session.execute(
            text(
                "UPDATE workers SET heartbeat_at = now() - interval '1 min' "
                "WHERE executor_id = 'silent'"
            )
        )

    # Act, Assert
    assert desk.workers.bury(None).dead == ("dead",)
    assert desk.workers.bury(120.0).dead == ()
    assert desk.workers.bury(30.0).dead == ("silent",)
    assert desk.workers.alive() == {me.executor_id}
    assert desk.events().count("worker.gone") == 2


def test_a_clock_that_was_put_back_keeps_no_dead_worker_alive(
    desk: Desk, me: WorkerIdentity
) -> None:
    # Arrange: elsewhere, dead, and by the database's clock to die tomorrow
    desk.workers.beat(replace(me, executor_id="elsewhere", machine="elsewhere"))
    set_heartbeats(desk, "now() + interval '1 day'")

    # Act: its silence begins, and ends
    assert desk.workers.bury(30.0).dead == ()
    set_heartbeats(desk, "heartbeat_at - interval '31 s'")

    # Assert
    assert desk.workers.bury(30.0).dead == ("elsewhere",)


def set_heartbeats(desk: Any, moment: str) -> None:
    with desk.sessions.begin() as session:
        session.execute(text(f"UPDATE workers SET heartbeat_at = {moment}"))


def test_no_delivery_waits_for_a_clock_that_was_put_back(desk: Desk, client: DBOSClient) -> None:
    # Arrange: one that waits as it should, one that was to be tried in ten seconds of a clock of
    # tomorrow
    with desk.sessions.begin() as session:
        for name, delay_s in (("soon", 10.0), ("tomorrow", 86_410.0)):
            desk.jobs.delivery(session, name, "pacs", 1, 2, delay_s)

    # Act
    hastened = hasten_deliveries(client, 600.0)

    # Assert
    assert hastened == ["tomorrow:send:pacs:2"]
    assert hasten_deliveries(client, 601.0) == []


def test_only_what_runs_nowhere_is_queued_again(
    desk: Desk, client: DBOSClient, me: WorkerIdentity
) -> None:
    # Arrange
    desk.workers.beat(me)
    orphaned, running, waiting = desk.request(), desk.request(), desk.request()
    pretend_running(desk, orphaned, "nobody")
    pretend_running(desk, running, me.executor_id)

    # Act
    resumed = resume_orphans(client, desk.workers)

    # Assert
    assert resumed == [orphaned]
    assert [status(client, one) for one in (orphaned, running, waiting)] == [
        "ENQUEUED",
        "PENDING",
        "ENQUEUED",
    ]
    assert client.retrieve_workflow(orphaned).get_status().queue_name == "studies"


def test_silence_counts_only_while_we_could_hear(
    desk: Desk, client: DBOSClient, me: WorkerIdentity
) -> None:
    # Arrange: another worker, silent for a minute by the database's clock
    desk.workers.beat(replace(me, executor_id="other", machine="elsewhere"))
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE workers SET heartbeat_at = now() - interval '1 min'"))
    now_s = [0.0]
    heartbeat = Heartbeat(client, desk.workers, me, clock=lambda: now_s[0], silence_s=15.0)

    # Act: just started; then long enough
    heartbeat.beat()
    just_started = desk.workers.alive()
    now_s[0] = 15.0
    heartbeat.beat()

    # Assert
    assert just_started == {"other", me.executor_id}
    assert desk.workers.alive() == {me.executor_id}


def test_between_thorough_beats_a_change_of_the_workers_alone_makes_it_look(
    desk: Desk, client: DBOSClient, me: WorkerIdentity
) -> None:
    # Arrange: one that has settled, and one other
    heartbeat = Heartbeat(client, desk.workers, me)
    other = replace(me, executor_id="other", machine="elsewhere")
    desk.workers.beat(other)
    heartbeat.beat(thorough=False)
    orphaned = desk.request()
    pretend_running(desk, orphaned, other.executor_id)

    # Act, Assert: while the other lives there is nothing to look for; it leaves in good order
    assert heartbeat.beat(thorough=False) == []
    desk.workers.leave(other)
    assert heartbeat.beat(thorough=False) == [orphaned]
    pretend_running(desk, orphaned, "nobody")
    assert heartbeat.beat(thorough=False) == []
    assert heartbeat.beat() == [orphaned]


def test_after_the_database_was_away_everybody_gets_time(
    desk: Desk, client: DBOSClient, me: WorkerIdentity
) -> None:
    # Arrange: a heartbeat that has listened for long loses the database once
    class Flaky(Workers):
        away = False

        def beat(self, worker: WorkerIdentity) -> None:
            if self.away:
                raise RecordUnavailable("away")
            super().beat(worker)

    flaky, now_s = Flaky(desk.sessions), [0.0]
    heartbeat = Heartbeat(client, flaky, me, clock=lambda: now_s[0], silence_s=15.0)
    heartbeat.beat()
    now_s[0], flaky.away = 100.0, True
    assert heartbeat.beat() == []
    flaky.away = False
    desk.workers.beat(replace(me, executor_id="other", machine="elsewhere"))
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE workers SET heartbeat_at = now() - interval '1 min'"))

    # Act, Assert
    now_s[0] = 101.0
    heartbeat.beat()
    assert desk.workers.alive() == {"other", me.executor_id}


def test_stopping_signs_off(desk: Desk, client: DBOSClient, me: WorkerIdentity) -> None:
    heartbeat = Heartbeat(client, desk.workers, me)
    heartbeat.beat()
    heartbeat.start()
    heartbeat.stop()
    assert desk.workers.alive() == set()


def test_older_work_is_cancelled_and_begun_anew(
    make_desk: Callable[..., Desk], client: DBOSClient, tmp_path: Path
) -> None:
    # Arrange
    old = make_desk()
    request_id = old.request()
    new = make_desk(pipeline_version=PIPELINE_VERSION + 1, held=old.held)

    # Act: twice, as by two workers that start together
    assert renew_older(client, new.sessions, new.jobs) == 1
    assert renew_older(client, new.sessions, new.jobs) == 0

    # Assert
    assert status(client, request_id) == "CANCELLED"
    assert status(client, f"{request_id}:run-2") == "ENQUEUED"
