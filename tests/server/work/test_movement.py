"""Whether a worker moves, seen from both ends of a loop that is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.values import Target
from server.fakes import FakeStages
from server.pulses import Part, Pulse
from server.record.database.jobs import open_client
from server.values import Assignment
from server.work.movement import Movement, WatchedStages, longest_waiting
from tests.server.conftest import Desk

LIMIT_S, BUSY_LIMIT_S = 30.0, 3600.0


class Bench:
    """A worker of two threads, what waits for it, and seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s, self.waiting = 1000.0, ""
        self.pulse = Pulse(Part.WORKER, LIMIT_S, lambda: self.now_s)
        self.movement = Movement(self.pulse, lambda: self.waiting or None, 2, BUSY_LIMIT_S)

    def look_after(self, seconds: float) -> float:
        """The pulse's age once `seconds` have passed and somebody has looked."""
        self.now_s += seconds
        self.movement.look()
        return self.pulse.state().age_s


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_worker_for_whom_nothing_waits_moves(bench: Bench) -> None:
    assert [bench.look_after(20) for _ in range(3)] == [0.0, 0.0, 0.0]


def test_a_worker_with_room_that_takes_nothing_stands_still(bench: Bench) -> None:
    bench.waiting = "request 1"

    assert [bench.look_after(20) for _ in range(3)] == [0.0, 20.0, 40.0]


def test_a_queue_from_which_something_is_taken_moves(bench: Bench) -> None:
    ages = []
    for number in range(3):
        bench.waiting = f"request {number}"
        ages.append(bench.look_after(20))

    assert ages == [0.0, 0.0, 0.0]


def test_a_worker_without_room_has_longer_and_is_not_young_because_somebody_looks(
    bench: Bench,
) -> None:
    bench.waiting = "request 3"
    with bench.movement.stage("outline"), bench.movement.stage("follow"):
        ages = [bench.look_after(1000) for _ in range(4)]
        state = bench.pulse.state()

    assert ages == [1000.0, 2000.0, 3000.0, 4000.0]
    assert (state.limit_s, state.doing) == (BUSY_LIMIT_S, "follow")
    assert bench.pulse.state().limit_s == LIMIT_S


def test_every_stage_and_every_turn_is_movement(bench: Bench, tmp_path: Path) -> None:
    # Arrange: each point takes a while
    doing: list[str] = []

    def pass_time(_: str) -> None:
        doing.append(bench.pulse.state().doing)
        bench.now_s += 100

    asked = Target("liver")
    assignment = Assignment("r", "1.2", 1, None, (asked,))
    stages = WatchedStages(FakeStages(tmp_path, pass_time), bench.movement)

    # Act
    stages.select(assignment)
    stages.outline(assignment, 0, lambda _: None)
    stages.follow(assignment, lambda _, __: None)
    summary = stages.finish(assignment, 0, lambda _: None)
    stages.write(assignment, [summary])

    # Assert
    assert set(doing) >= {"select", "outline", "follow", "segment", "write"}
    assert bench.pulse.state().age_s == 0.0
    assert bench.pulse.state().limit_s == LIMIT_S


def test_the_queue_tells_what_waits_longest(desk: Desk) -> None:
    client = open_client(desk.url)
    before = longest_waiting(client, desk.jobs.pipeline_version)
    first, _ = desk.request(), desk.request()

    assert before is None
    assert longest_waiting(client, desk.jobs.pipeline_version) == first
    assert longest_waiting(client, desk.jobs.pipeline_version + 1) is None
    client.destroy()
