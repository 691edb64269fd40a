"""Results in doubt wait for a person where their route says so, and for nobody elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent.values import TargetStatus
from dicom_node.values import ResultKind
from server.errors import WrongState
from server.record import requests
from server.record.deliveries import DeliveryAttempt
from server.settings import RouteSettings
from server.values import DeliveryState, RequestState, Selection, Stage, TargetSummary
from tests.server.conftest import STUDY, Desk
from tests.server.record.test_deliveries import SEG, queued


def route(doubtful: str = "hold") -> RouteSettings:
    return RouteSettings.model_validate(
        {"name": "ct", "when": {}, "targets": ["liver"], "doubtful": doubtful}
    )


def written(desk: Desk, request_id: str, *, for_review: bool = True) -> str:
    """The request brought to its deliveries."""
    status = TargetStatus.SEGMENTED
    summary = TargetSummary(
        0, "liver", "liver", status, "", 9.0, 1, 0.9, ("9 ml is little",), for_review
    )
    desk.runs.enter(request_id, 1, Stage.SELECT)
    desk.runs.selected(request_id, 1, Selection("1.2", (1, 2, 3), ()), 0.1)
    desk.runs.enter(request_id, 1, Stage.FINISH, 0)
    desk.runs.target_done(request_id, 1, summary, 0.1, 1)
    desk.runs.enter(request_id, 1, Stage.WRITE)
    desk.runs.written(request_id, 1, [SEG], 0.1)
    desk.runs.send(request_id, 1)
    return request_id


def routed(desk: Desk) -> str:
    """The id of the request that the first route made of a complete study."""
    desk.complete_study()
    return desk.record.requests()[0].id


@pytest.fixture
def on_hold(make_desk: Callable[..., Desk]) -> tuple[Desk, str]:
    desk = make_desk(route())
    return desk, written(desk, routed(desk))


def states(desk: Desk, request_id: str) -> set[str]:
    return {delivery.state for delivery in desk.record.request(request_id).deliveries}


def test_doubtful_results_wait_and_say_how_they_go_on(on_hold: tuple[Desk, str]) -> None:
    desk, request_id = on_hold

    view = desk.record.request(request_id)
    assert view.state == RequestState.SENDING
    assert states(desk, request_id) == {DeliveryState.HELD}
    assert view.targets[0].for_review
    assert view.warnings[0] == "liver: 9 ml is little"
    assert "held back: `segnode release ID`" in view.warnings[-1]
    assert queued(desk) == {}
    assert desk.events(request_id)[-1] == "request.held"


def test_a_step_that_is_repeated_holds_once(on_hold: tuple[Desk, str]) -> None:
    desk, request_id = on_hold

    desk.runs.send(request_id, 1)

    assert desk.events(request_id).count("request.held") == 1
    assert queued(desk) == {}


def test_released_results_are_sent_and_the_request_ends(on_hold: tuple[Desk, str]) -> None:
    desk, request_id = on_hold

    view = desk.record.release(request_id, actor="jo")

    assert {delivery.state for delivery in view.deliveries} == {DeliveryState.PENDING}
    assert not any("held back" in warning for warning in view.warnings)
    assert set(queued(desk).values()) == {"ENQUEUED"}
    assert [line.actor for line in desk.record.audit() if line.event == "request.released"] == [
        "jo"
    ]
    for destination in ("pacs", "archive"):
        attempt = DeliveryAttempt(request_id, destination, 1, 1)
        assert desk.deliveries.begin(attempt)
        desk.deliveries.delivered(attempt, [ResultKind.SEG], 0.1)
    assert desk.record.request(request_id).state == RequestState.DONE


def test_a_retry_releases_nothing(on_hold: tuple[Desk, str]) -> None:
    desk, request_id = on_hold

    with pytest.raises(WrongState, match="release the request to send them"):
        desk.record.retry(request_id, actor="jo")
    assert states(desk, request_id) == {DeliveryState.HELD}


def test_a_newer_pipeline_releases_nothing(on_hold: tuple[Desk, str]) -> None:
    desk, request_id = on_hold

    with desk.sessions.begin() as session:
        row = requests.locked(session, request_id)
        requests.begin_anew(session, desk.jobs, row, actor="system", reason="pipeline 4")

    assert states(desk, request_id) == {DeliveryState.HELD}
    assert queued(desk) == {}


def test_a_rejected_result_is_cancelled_and_never_sent(on_hold: tuple[Desk, str]) -> None:
    desk, request_id = on_hold

    view = desk.record.cancel(request_id, actor="jo")

    assert view.state == RequestState.CANCELLED
    assert not any("held back" in warning for warning in view.warnings)
    with pytest.raises(WrongState, match="nothing of this request is held back"):
        desk.record.release(request_id, actor="jo")
    assert queued(desk) == {}


def test_nothing_in_doubt_waits_for_nobody(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(route())
    request_id = written(desk, routed(desk), for_review=False)

    assert states(desk, request_id) == {DeliveryState.PENDING}
    with pytest.raises(WrongState, match="it is SENDING"):
        desk.record.release(request_id, actor="jo")


@pytest.mark.parametrize(("doubtful", "state"), [("send", "pending"), ("hold", "held")])
def test_what_a_person_asks_for_follows_the_first_matching_route(
    make_desk: Callable[..., Desk], doubtful: str, state: str
) -> None:
    desk = make_desk(route(doubtful), route("hold").model_copy(update={"name": "second"}))
    desk.complete_study()
    submitted = desk.record.submit(STUDY, ["liver"], destinations=["pacs"], actor="jo")

    written(desk, submitted.id)

    assert states(desk, submitted.id) == {state}


def test_a_later_version_of_the_study_holds_as_the_earlier_did(
    make_desk: Callable[..., Desk],
) -> None:
    desk = make_desk(route())
    desk.complete_study()
    desk.record.submit(STUDY, ["liver"], destinations=["pacs"], actor="jo")
    desk.complete_study(slices=5)

    successors = [r for r in desk.record.requests() if r.study_version == 2]

    assert len(successors) == 2
    for successor in successors:
        written(desk, successor.id)
        assert states(desk, successor.id) == {DeliveryState.HELD}


def test_results_that_go_nowhere_are_done(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(route(), destinations=())

    request_id = written(desk, routed(desk))

    assert desk.record.request(request_id).state == RequestState.DONE
