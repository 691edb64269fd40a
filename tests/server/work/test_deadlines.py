"""Stages end: at their deadline, when their request is cancelled, when they take too much; and the
next request runs.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from server.errors import RecordUnavailable, RunEnded
from server.settings import load_settings
from server.values import RequestState, Stage
from server.work.deadlines import StageInterrupted, StageLimits, StageUnwanted, StageWatch
from server.work.worker import Worker
from tests.server.conftest import Desk

POINTS = {
    "select": "select",
    "outline 0": "outline",
    "follow": "follow",
    "segment 0": "segment",
    "write": "write",
}


def loop(point: str) -> None:
    """What a library does with a header that it believes: it asks nobody, and swallows errors."""
    while True:
        try:
            time.sleep(0.001)
        except Exception:  # noqa: BLE001 - as libraries do
            continue


class Runs:
    """A record in which everything is wanted until it is cancelled; it can be away."""

    def __init__(self) -> None:
        self.wanted, self.away = True, False
        self.failed: list[tuple[str, str]] = []

    def is_wanted(self, request_id: str, run: int) -> bool:
        if self.away:
            raise RecordUnavailable("away")
        return self.wanted

    def fail(self, request_id: str, run: int, stage: str, sentence: str) -> None:
        if self.away:
            raise RecordUnavailable("away")
        if not self.wanted:
            raise RunEnded("cancelled", over=True)
        self.failed.append((stage, sentence))


class Bench:
    """A watch whose seconds pass when a test says so."""

    def __init__(self, **limits: float) -> None:
        self.now_s, self.memory_bytes = 0.0, 0
        self.runs = Runs()
        self.ended: list[str] = []
        self.watch = StageWatch(
            self.runs,
            StageLimits(memory_bytes=1000, **limits),
            end_worker=self.ended.append,
            memory_bytes=lambda: self.memory_bytes,
            clock=lambda: self.now_s,
        )

    def run(self, work: Callable[[], object]) -> tuple[threading.Thread, list[StageInterrupted]]:
        """A stage in a thread of its own; what it raised."""
        inside, raised = threading.Event(), list[StageInterrupted]()

        def body() -> None:
            try:
                with self.watch.stage("r", 1, Stage.SELECT):
                    inside.set()
                    work()
            except StageInterrupted as error:
                raised.append(error)

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        inside.wait(5)
        return thread, raised

    def look_until_ended(self, thread: threading.Thread) -> None:
        deadline = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < deadline:
            self.watch.look()
            thread.join(timeout=0.05)
        assert not thread.is_alive()


def test_a_stage_that_loops_is_interrupted_at_its_deadline() -> None:
    # Arrange
    bench = Bench(select_s=10.0)
    thread, raised = bench.run(lambda: loop("select"))

    # Act, Assert: not before
    bench.now_s = 9.0
    bench.watch.look()
    assert bench.runs.failed == []
    bench.now_s = 11.0
    bench.look_until_ended(thread)
    assert [type(error) for error in raised] == [StageInterrupted]
    [(stage, sentence)] = bench.runs.failed
    assert stage == "select"
    assert "'select' took longer than 10 s (stages.select_s)" in sentence
    assert bench.ended == []


def test_one_that_is_not_wanted_is_interrupted_without_a_word() -> None:
    bench = Bench()
    thread, raised = bench.run(lambda: loop("select"))
    bench.runs.wanted, bench.now_s = False, 5.0

    bench.look_until_ended(thread)

    assert [type(error) for error in raised] == [StageUnwanted]
    assert bench.runs.failed == []


def test_one_that_takes_too_much_memory_is_stopped() -> None:
    bench = Bench()
    thread, _ = bench.run(lambda: loop("select"))
    bench.memory_bytes = 2000

    bench.look_until_ended(thread)

    [(_, sentence)] = bench.runs.failed
    assert "(stages.memory_bytes)" in sentence


@pytest.mark.skipif(
    sys.gettrace() is not None,
    reason="a traced CPython 3.11 stands still while an exception waits in another thread",
)
def test_one_that_is_deep_in_a_library_ends_the_worker_after_a_while() -> None:
    # Arrange: no instruction of Python runs in it
    bench = Bench(select_s=10.0, grace_s=60.0)
    deep = threading.Event()
    thread, _ = bench.run(deep.wait)

    # Act
    bench.now_s = 11.0
    bench.watch.look()
    bench.now_s = 70.0
    bench.watch.look()
    patient = list(bench.ended)
    bench.now_s = 72.0
    bench.watch.look()
    deep.set()
    thread.join(timeout=5)

    # Assert: the record knew it before
    assert patient == []
    assert "'select' of request r does not stop" in bench.ended[0]
    assert len(bench.runs.failed) == 1


def test_a_stage_that_waits_for_the_database_is_not_late() -> None:
    # Arrange
    bench = Bench(select_s=10.0)
    go_on = threading.Event()
    thread, raised = bench.run(lambda: [go_on.wait(0.01) for _ in iter(go_on.is_set, True)])

    # Act: away for a minute, and back
    bench.runs.away = True
    for bench.now_s in (20.0, 40.0, 60.0):
        bench.watch.look()
    bench.runs.away = False
    bench.now_s = 65.0
    bench.watch.look()
    go_on.set()
    thread.join(timeout=5)

    # Assert
    assert bench.runs.failed == []
    assert raised == []


def test_what_comes_too_late_is_never_raised() -> None:
    # Arrange: interrupted again and again around its end
    bench = Bench(select_s=10.0)
    for _ in range(50):
        thread, raised = bench.run(lambda: time.sleep(0.002))
        bench.now_s += 11.0
        bench.look_until_ended(thread)
        assert {type(error) for error in raised} <= {StageInterrupted}
    assert bench.watch._running == []


def test_after_a_stage_traced_calls_go_on() -> None:
    # what is taken back from a thread by hand leaves CPython 3.11 checking for ever in traced calls
    program = """
import sys
from server.values import Stage
from server.work.deadlines import StageLimits, StageWatch

class Runs: pass

watch = StageWatch(Runs(), StageLimits())
with watch.stage("r", 1, Stage.SELECT):
    pass
sys.settrace(lambda *_: None)
(lambda: None)()
sys.settrace(None)
print("went on")
"""
    answer = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=30
    )

    assert answer.stdout == "went on\n", answer.stderr


@pytest.mark.parametrize("point", POINTS)
def test_a_stage_without_end_fails_its_request_and_the_next_one_runs(
    desk: Desk, start_worker: Callable[..., Worker], point: str
) -> None:
    # Arrange
    stage = POINTS[point]
    request_id, next_id = desk.request(), desk.request()
    first = [point]

    def hang(at: str) -> None:
        if at == point and first:
            first.clear()
            loop(at)

    # Act
    limits: dict[str, Any] = {f"{stage}_s": 0.5}
    start_worker(stage_hook=hang, limits=StageLimits(**limits))

    # Assert
    assert desk.wait_for_end(request_id) == RequestState.FAILED
    view = desk.record.request(request_id)
    assert view.failed_stage == stage
    assert view.error is not None
    assert view.error.startswith(f"stage '{stage}' took longer than 0.5 s (stages.{stage}_s)")
    assert desk.wait_for_end(next_id) == RequestState.DONE


@pytest.mark.parametrize("point", POINTS)
def test_cancelling_works_in_every_stage(
    desk: Desk, start_worker: Callable[..., Worker], point: str
) -> None:
    # Arrange
    request_id, next_id = desk.request(), desk.request()
    first = [point]

    def cancel_and_hang(at: str) -> None:
        if at == point and first:
            first.clear()
            desk.record.cancel(request_id, actor="jo")
            loop(at)

    # Act
    start_worker(stage_hook=cancel_and_hang)

    # Assert: the worker is free again
    assert desk.wait_for_end(next_id, 20) == RequestState.DONE
    assert desk.record.request(request_id).state == RequestState.CANCELLED


def test_the_sites_limits_are_the_workers() -> None:
    settings = load_settings((), {"SEGNODE_STAGES__SELECT_S": "7"})

    limits = StageLimits(**settings.stages.model_dump())

    assert limits == StageLimits(select_s=7.0)
    assert limits.most_memory_bytes() > 100_000_000
    assert StageLimits(memory_bytes=5).most_memory_bytes() == 5
