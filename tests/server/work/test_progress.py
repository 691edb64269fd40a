"""How far a request is stands in the record: the newest word, now and then, while it is worked
on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from server.errors import RecordUnavailable
from server.record.database.engine import Sessions
from server.record.requests import note_progress
from server.values import Assignment, Stage, StepProgress, WorkStep
from server.work.progress import ProgressNotes
from tests.server.conftest import Desk

LOADING = StepProgress(WorkStep.LOAD)


class CountedSessions(Sessions):
    """The desk's sessions, counted as they begin; for the first `faults` there is no database."""

    def __init__(self, sessions: Sessions, faults: int = 0) -> None:
        super().__init__(sessions.engine)
        self._faults = faults
        self.begun = 0

    @contextmanager
    def begin(self) -> Iterator[Any]:
        self.begun += 1
        if self.begun <= self._faults:
            raise RecordUnavailable("away")
        with super().begin() as session:
            yield session


@pytest.fixture
def make_notes() -> Iterator[Callable[..., ProgressNotes]]:
    """Notes that run; they end with the test."""
    running: list[ProgressNotes] = []

    def make(sessions: Any, every_s: float) -> ProgressNotes:
        notes = ProgressNotes(sessions, every_s)
        notes.start()
        running.append(notes)
        return notes

    yield make
    for notes in running:
        notes.stop()


def assignment(request_id: str) -> Assignment:
    return Assignment(request_id, "1.2.3", 1, None, ())


def encoded(slices: int) -> StepProgress:
    return StepProgress(WorkStep.ENCODE, slices, 300)


def test_the_newest_word_of_each_request_is_noted_once(desk: Desk) -> None:
    # Arrange
    first, second = desk.request(), desk.request()
    sessions = CountedSessions(desk.sessions)
    notes = ProgressNotes(sessions)

    # Act
    for slices in range(1, 301):
        notes.tell(assignment(first), encoded(slices))
    notes.tell(assignment(second), LOADING)

    # Assert
    assert (notes.note(), notes.note()) == (2, 0)
    assert sessions.begun == 1
    assert desk.record.request(first).progress == encoded(300)
    assert desk.record.request(second).progress == LOADING


def test_the_first_word_is_noted_at_once_and_the_next_not_before_its_time(
    desk: Desk, make_notes: Callable[..., ProgressNotes], until: Callable[..., object]
) -> None:
    request_id = desk.request()
    sessions = CountedSessions(desk.sessions)
    notes = make_notes(sessions, every_s=3600.0)

    notes.tell(assignment(request_id), LOADING)
    until(lambda: desk.record.request(request_id).progress == LOADING)
    for slices in range(20):
        notes.tell(assignment(request_id), encoded(slices))
        desk.record.request(request_id)  # which gives the notes' thread its turn
    notes.stop()

    assert sessions.begun == 1


def test_notes_go_on_when_the_database_is_back(
    desk: Desk, make_notes: Callable[..., ProgressNotes], until: Callable[..., object]
) -> None:
    request_id = desk.request()
    sessions = CountedSessions(desk.sessions, faults=1)
    notes = make_notes(sessions, every_s=0.01)

    notes.tell(assignment(request_id), LOADING)
    until(lambda: sessions.begun == 1)
    notes.tell(assignment(request_id), encoded(1))

    until(lambda: desk.record.request(request_id).progress == encoded(1))


def test_nothing_is_noted_of_a_request_that_has_ended(desk: Desk) -> None:
    request_id = desk.request()
    notes = ProgressNotes(desk.sessions)
    notes.tell(assignment(request_id), LOADING)
    notes.note()

    desk.record.cancel(request_id, actor="jo")
    assert desk.record.request(request_id).progress is None
    notes.tell(assignment(request_id), encoded(1))
    notes.note()

    assert desk.record.request(request_id).progress is None


def test_a_request_that_is_begun_anew_has_made_no_progress(desk: Desk) -> None:
    request_id = desk.request()
    desk.runs.enter(request_id, 1, Stage.SELECT)
    with desk.sessions.begin() as session:
        note_progress(session, request_id, encoded(7))

    desk.runs.fail(request_id, 1, Stage.SELECT, "the disk is gone")
    failed = desk.record.request(request_id)
    desk.record.retry(request_id, actor="jo")

    assert failed.progress is None
    assert desk.record.request(request_id).progress is None
