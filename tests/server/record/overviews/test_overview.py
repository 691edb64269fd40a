"""What a screen shows, out of a real database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from server.errors import UnknownRequest, UnknownStudy
from server.record.overviews.overview import RecordOverview
from server.record.views import Page, StudyFacts
from server.values import RequestState
from tests.server.conftest import Desk

NEWEST = Page(50, newest=True)


@pytest.fixture
def overview(desk: Desk) -> RecordOverview:
    return RecordOverview(desk.sessions)


def execute(desk: Desk, statement: str, **values: Any) -> None:
    """Change the database behind the record's back."""
    with desk.sessions.begin() as session:
        session.execute(text(statement), values)


def test_requests_come_whole_in_pages(desk: Desk, overview: RecordOverview) -> None:
    ids = [desk.request("liver", "spleen") for _ in range(3)]

    first = overview.requests(replace(NEWEST, limit=2))
    rest = overview.requests(replace(NEWEST, after=first[-1].number))

    assert [view.id for view in (*first, *rest)] == ids[::-1]
    assert [target.text for target in first[0].targets] == ["liver", "spleen"]
    assert first[0] == desk.record.request(ids[2])


def test_requests_are_picked_by_state_and_study(desk: Desk, overview: RecordOverview) -> None:
    ids = [desk.request() for _ in range(3)]
    desk.record.cancel(ids[1], actor="test")

    def picked(*states: RequestState, **choice: Any) -> list[str]:
        return [view.id for view in overview.requests(NEWEST, states=states, **choice)]

    assert picked(RequestState.CANCELLED) == [ids[1]]
    assert picked(RequestState.CANCELLED, RequestState.QUEUED) == ids[::-1]
    assert picked(study_instance_uid="1.2") == []
    assert picked(RequestState.QUEUED, study_instance_uid=desk.complete_study()) == [ids[2], ids[0]]


def test_what_was_given_up_is_picked(desk: Desk, overview: RecordOverview) -> None:
    ids = [desk.request() for _ in range(2)]
    assert overview.requests(NEWEST, undelivered=True) == ()

    execute(desk, "UPDATE deliveries SET state = 'dead' WHERE request_id = :id", id=ids[0])

    assert [view.id for view in overview.requests(NEWEST, undelivered=True)] == [ids[0]]


def test_a_study_is_what_one_of_its_images_says(desk: Desk, overview: RecordOverview) -> None:
    study = desk.complete_study()

    assert overview.facts([study, "1.2.3"]) == {study: StudyFacts("CT", "Abdomen^routine", "")}
    assert overview.facts([]) == {}
    assert overview.attributes(study) == [{"Modality": "CT", "StudyDescription": "Abdomen^routine"}]
    with pytest.raises(UnknownStudy):
        overview.attributes("1.2.3")


def test_our_own_results_say_nothing_of_a_study(desk: Desk, overview: RecordOverview) -> None:
    study = desk.complete_study()

    execute(desk, "UPDATE instances SET ours = true")

    assert overview.facts([study]) == {}
    assert overview.attributes(study) == []


def test_turns_come_in_parts_with_their_numbers(desk: Desk, overview: RecordOverview) -> None:
    request_id = desk.request("liver", "spleen")
    for target, slice_index in ((1, 5), (0, 9), (0, 3), (1, 2)):
        execute(
            desk,
            "INSERT INTO turns (request_id, target_index, slice_index, turn_index, turn, at)"
            " VALUES (:id, :target, :slice, 0, '{}', now())",
            id=request_id,
            target=target,
            slice=slice_index,
        )

    whole = desk.record.turns(request_id)

    assert overview.count_turns(request_id) == 4
    assert overview.turns(request_id, 0, 99) == whole
    assert overview.turns(request_id, 1, 2) == whole[1:3]
    assert [turn.n for turn in overview.turns(request_id, 1, 2)] == [1, 2]
    assert overview.turns(request_id, 4, 2) == ()
    with pytest.raises(UnknownRequest):
        overview.turns("nobody", 0, 1)
    assert overview.count_turns("nobody") == 0


def test_a_trail_is_one_requests_and_its_last_lines(desk: Desk, overview: RecordOverview) -> None:
    request_id, other = desk.request(), desk.request()
    desk.record.cancel(request_id, actor="somebody")

    lines = overview.trail(request_id, 10)

    assert [line.event for line in lines] == ["request.queued", "request.cancelled"]
    assert lines[-1].actor == "somebody"
    assert overview.trail(request_id, 1) == lines[-1:]
    assert {line.request_id for line in overview.trail(other, 10)} == {other}
