"""Routes on a study that is here: which studies none matched, and what they make later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from server.errors import StudyIncomplete, UnknownStudy
from server.record.views import Page
from server.settings import RouteSettings
from tests.server.conftest import Desk, HeldStudies

STUDY = "1.2.826.0.1.3680043.8.498.1"
MR = RouteSettings(name="head", when={"Modality": "MR"}, targets=("brain",))
CT = RouteSettings(name="abdomen", when={"Modality": "CT"}, targets=("liver", "spleen"))
MakeDesk = Callable[..., Desk]


@pytest.fixture
def routed_anew(make_desk: MakeDesk) -> Callable[..., Desk]:
    """A node with a complete CT study under the route MR, started again with other routes."""
    held = HeldStudies()
    held.put(3)
    make_desk(MR, held=held).record.complete(STUDY, actor="test")

    return lambda *routes: make_desk(*routes, held=held)


def made(desk: Desk) -> list[str | None]:
    """The routes of all requests, oldest first."""
    return [request.route for request in desk.record.requests()]


def test_a_study_that_no_route_matched_says_so_and_why(make_desk: MakeDesk) -> None:
    desk = make_desk(MR)
    desk.held.put(1)
    desk.held.put(1, study="1.2.9", attributes={"Modality": "MR"})
    for study in (STUDY, "1.2.9"):
        desk.record.complete(study, actor="test")

    (unrouted,) = desk.record.studies(unrouted=True)
    (routed,) = desk.record.studies(Page(), unrouted=False)

    assert unrouted.study_instance_uid == STUDY
    assert unrouted.unrouted_reason == (
        "no route of the 1 configured matches: head (no instance has Modality = 'MR')"
    )
    assert (routed.study_instance_uid, routed.unrouted) == ("1.2.9", False)
    assert desk.record.study(STUDY).summary.unrouted
    assert len(desk.record.studies()) == 2


def test_without_routes_no_study_is_matched(desk: Desk) -> None:
    desk.complete_study()

    (study,) = desk.record.studies(unrouted=True)
    assert study.unrouted_reason == "no routes are configured"


def test_a_study_of_which_nothing_can_be_read_is_rejected_and_not_unrouted(
    make_desk: MakeDesk,
) -> None:
    desk = make_desk(MR)
    desk.held.put(1, faults=("the whole data set",), reason="no DICOM")
    desk.record.complete(STUDY, actor="test")

    assert desk.record.studies(unrouted=True) == ()


def test_late_images_that_match_end_it(make_desk: MakeDesk) -> None:
    desk = make_desk(MR)
    desk.held.put(1)
    desk.record.complete(STUDY, actor="test")
    desk.held.put(1, series=2, attributes={"Modality": "MR"})
    desk.record.complete(STUDY, actor="test")

    assert desk.record.studies(unrouted=True) == ()


def test_new_routes_make_what_an_arrival_would_make_and_once(
    routed_anew: Callable[..., Desk],
) -> None:
    desk = routed_anew(MR, CT)

    first = desk.record.route(STUDY, actor="token jo")
    again = desk.record.route(STUDY, actor="token jo")

    head, abdomen = first.routes
    assert (head.matches, head.request, head.made) == (False, None, False)
    assert head.why_not == "no instance has Modality = 'MR'"
    assert (abdomen.matches, abdomen.made, abdomen.why_not) == (True, True, None)
    assert abdomen.request is not None
    assert first.unrouted_reason is None
    assert desk.record.studies(unrouted=True) == ()
    assert again.routes[1].request == abdomen.request
    assert not again.routes[1].made
    (request,) = desk.record.requests()
    whole = desk.record.request(request.id)
    assert (request.id, request.route, request.actor) == (
        abdomen.request.id,
        "abdomen",
        "route:abdomen",
    )
    assert [target.text for target in whole.targets] == ["liver", "spleen"]
    assert [delivery.destination for delivery in whole.deliveries] == ["archive", "pacs"]
    lines = [line for line in desk.record.audit() if line.event == "study.routed"]
    assert [line.actor for line in lines] == ["token jo", "token jo"]
    assert [line.detail["made"] for line in lines] == [[request.id], []]
    assert lines[0].detail["matching"] == ["abdomen"]


def test_what_a_person_asked_for_is_not_asked_again(routed_anew: Callable[..., Desk]) -> None:
    desk = routed_anew(CT)
    by_hand = desk.record.submit(STUDY, ["LIVER", "spleen"], actor="jo").id

    (route,) = desk.record.route(STUDY, actor="jo").routes

    assert route.request is not None
    assert (route.request.id, route.made) == (by_hand, False)


@pytest.mark.parametrize(
    "other",
    [
        {"targets": ["liver"]},
        {"targets": ["spleen", "liver"]},
        {"destinations": ["pacs"]},
        {"policy": "another"},
        {"series_instance_uid": f"{STUDY}.1"},
    ],
)
def test_what_differs_is_asked_for(routed_anew: Callable[..., Desk], other: dict[str, Any]) -> None:
    desk = routed_anew(CT)
    desk.record.submit(STUDY, **({"targets": ["liver", "spleen"], "actor": "jo"} | other))

    desk.record.route(STUDY, actor="jo")

    assert made(desk) == [None, "abdomen"]


def test_what_was_cancelled_is_asked_for_again(routed_anew: Callable[..., Desk]) -> None:
    desk = routed_anew(CT)
    desk.record.route(STUDY, actor="jo")
    desk.record.cancel(desk.record.requests()[0].id, actor="jo")

    desk.record.route(STUDY, actor="jo")

    assert made(desk) == ["abdomen", "abdomen"]


def test_routes_that_do_not_match_say_why_and_make_nothing(
    routed_anew: Callable[..., Desk],
) -> None:
    routing = routed_anew(MR).record.route(STUDY, actor="jo")

    assert routing.unrouted_reason == (
        "no route of the 1 configured matches: head (no instance has Modality = 'MR')"
    )
    assert [condition.values for condition in routing.routes[0].conditions] == [("CT",)]


def test_only_a_complete_study_that_is_here_is_routed(make_desk: MakeDesk) -> None:
    desk = make_desk(CT)
    desk.held.put(1)
    with pytest.raises(UnknownStudy):
        desk.record.route("1.2.9", actor="jo")
    with pytest.raises(StudyIncomplete):
        desk.record.route(STUDY, actor="jo")
    desk.record.completion.index(STUDY)
    with pytest.raises(StudyIncomplete):
        desk.record.route(STUDY, actor="jo")
