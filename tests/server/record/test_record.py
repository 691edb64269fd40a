"""Requests and studies in a real database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from agent.actions import Malformed, Stop
from agent.language.chat import Answer
from agent.language.replies import reply_text
from agent.turns import Outcome, Turn
from agent.values import Role
from dicom_node.identity import MANUFACTURER
from dicom_node.values import ResultKind, WrittenResult
from models.errors import UnknownModel
from models.pair import ModelPair
from server.errors import (
    RecordRefused,
    RecordUnavailable,
    RunEnded,
    StudyIncomplete,
    UnknownDestination,
    UnknownRequest,
    UnknownStudy,
    UnknownTurn,
    WrongState,
)
from server.record import requests
from server.record.database.engine import Sessions, dbos_url, open_engine, record_url
from server.record.database.jobs import PIPELINE_VERSION, DbosJobs, open_client
from server.settings import RouteSettings
from server.values import RequestState, Selection, Stage, StudyState
from tests.server.conftest import Desk

STUDY = "1.2.826.0.1.3680043.8.498.1"
CT_ROUTE = RouteSettings(
    name="abdomen", when={"Modality": "CT"}, targets=("liver", "kidneys"), destinations=("pacs",)
)


def queued_jobs(url: str) -> list[str]:
    client = open_client(url)
    try:
        return [one.workflow_id for one in client.list_workflows()]
    finally:
        client.destroy()


def test_a_request_its_job_and_its_audit_row_come_together(desk: Desk) -> None:
    request_id = desk.request("liver")
    assert queued_jobs(desk.url) == [request_id]
    assert desk.events(request_id) == ["request.queued"]
    view = desk.record.request(request_id)
    assert (view.state, view.study_version, view.route) == (RequestState.QUEUED, 1, None)
    assert view.targets[0].code.value == "10200004"  # SNOMED CT: liver structure


def test_who_works_is_kept_with_the_request(make_desk: Callable[..., Desk]) -> None:
    # Arrange
    def offer(policy: str | None, segmenter: str | None) -> ModelPair:
        return ModelPair(policy or "locator", segmenter or "medsam2")

    desk = make_desk(pair=offer)
    study = desk.complete_study()

    # Act
    named = desk.record.submit(study, ["liver"], segmenter="sam2-tiny", actor="test").id
    unnamed = desk.record.submit(study, ["liver"], actor="test").id

    # Assert
    view = desk.record.request(named)
    assert (view.policy, view.segmenter) == ("locator", "sam2-tiny")
    assert desk.runs.enter(named, 1, Stage.SELECT).pair == ModelPair("locator", "sam2-tiny")
    assert desk.record.request(unnamed).segmenter == "medsam2"


def test_what_was_asked_of_an_earlier_version_is_worked_on_by_the_same(
    make_desk: Callable[..., Desk],
) -> None:
    desk = make_desk(pair=lambda policy, _: ModelPair(policy or "locator", "medsam2"))
    study = desk.complete_study()
    desk.record.submit(study, ["liver"], policy="openai", actor="test")

    desk.held.put(4)
    desk.record.complete(study, actor="test")

    assert [each.policy for each in desk.record.requests()] == ["openai", "openai"]


def test_models_that_are_not_here_make_no_request(make_desk: Callable[..., Desk]) -> None:
    def offer(policy: str | None, _: str | None) -> ModelPair:
        raise UnknownModel("policy", str(policy), ("locator",))

    desk = make_desk(pair=offer)
    study = desk.complete_study()

    with pytest.raises(UnknownModel):
        desk.record.submit(study, ["liver"], policy="gpt", actor="test")
    assert desk.record.requests() == ()


def test_a_request_of_before_models_could_be_chosen_is_the_workers(desk: Desk) -> None:
    request_id = desk.request("liver")
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE requests SET policy = NULL, segmenter = NULL"))

    assignment = desk.runs.enter(request_id, 1, Stage.SELECT)
    assert assignment.pair is None
    assert assignment.requested_at == desk.record.request(request_id).created_at
    assert desk.record.request(request_id).policy is None


def test_or_none_of_them(desk: Desk) -> None:
    # Arrange: the job cannot be written
    study = desk.complete_study()

    class Refusing(DbosJobs):
        def study(self, *_: object) -> None:
            raise RecordUnavailable("away")

    desk.record._jobs = Refusing(desk.url)

    # Act
    with pytest.raises(RecordUnavailable):
        desk.record.submit(study, ["liver"], actor="test")
    desk.record._jobs.close()

    # Assert
    assert desk.record.requests() == ()
    assert queued_jobs(desk.url) == []
    assert "request.queued" not in desk.events()


def test_requests_are_listed_oldest_first_and_by_state(desk: Desk) -> None:
    ids = [desk.request("liver") for _ in range(3)]
    desk.record.cancel(ids[1], actor="jo")
    assert [one.id for one in desk.record.requests()] == ids
    assert [one.id for one in desk.record.requests(state=RequestState.CANCELLED)] == [ids[1]]


@pytest.mark.parametrize("uid", ["1.2.3", "", "x" * 5000, "1.2\0.3", "'; DROP TABLE studies; --"])
def test_a_study_that_is_not_here(desk: Desk, uid: str) -> None:
    for ask in (
        lambda: desk.record.submit(uid, ["liver"], actor="test"),
        lambda: desk.record.study(uid),
        lambda: desk.record.complete(uid, actor="test"),
    ):
        with pytest.raises(UnknownStudy, match="does not hold"):
            ask()


@pytest.mark.parametrize("request_id", ["nothing", "", "\0"])
def test_a_request_that_is_not_here(desk: Desk, request_id: str) -> None:
    for ask in (
        desk.record.request,
        desk.record.turns,
        lambda one: desk.record.turn(one, 0),
        lambda one: desk.record.retry(one, actor="jo"),
        lambda one: desk.record.cancel(one, actor="jo"),
    ):
        with pytest.raises(UnknownRequest):
            ask(request_id)


def test_a_study_that_still_arrives(desk: Desk) -> None:
    # Arrange: on disk, not yet indexed; then indexed, not complete
    desk.held.put(3)
    with pytest.raises(StudyIncomplete):
        desk.record.submit(STUDY, ["liver"], actor="test")
    desk.record.completion.index(STUDY)

    # Act, Assert
    with pytest.raises(StudyIncomplete, match="still arriving"):
        desk.record.submit(STUDY, ["liver"], actor="test")
    assert desk.record.study(STUDY).summary.state == StudyState.RECEIVING


def test_an_unknown_destination_makes_no_request(desk: Desk) -> None:
    desk.complete_study()
    with pytest.raises(UnknownDestination):
        desk.record.submit(STUDY, ["liver"], destinations=["moon"], actor="test")
    assert desk.record.requests() == ()


@pytest.mark.parametrize("series", ["1.2.3", "\0", ""])
def test_a_series_that_the_study_has_not(desk: Desk, series: str) -> None:
    desk.complete_study()
    with pytest.raises(UnknownStudy, match="has no series"):
        desk.record.submit(STUDY, ["liver"], series_instance_uid=series, actor="test")


def test_only_what_failed_can_be_tried_again(desk: Desk) -> None:
    request_id = desk.request()
    with pytest.raises(WrongState, match="only a FAILED request"):
        desk.record.retry(request_id, actor="jo")


def test_who_did_it_is_on_record(desk: Desk) -> None:
    request_id = desk.request()
    desk.record.cancel(request_id, actor="token:jo")
    last = desk.record.audit()[-1]
    assert (last.event, last.actor, last.before, last.after) == (
        "request.cancelled",
        "token:jo",
        "QUEUED",
        "CANCELLED",
    )
    assert last.at.tzinfo is not None
    assert [line.id for line in desk.record.audit(since=last.at)] == [last.id]


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"],
)
def test_the_audit_trail_cannot_be_changed(desk: Desk, statement: str) -> None:
    desk.request()
    before = desk.events()
    # P0001: what the trigger raises
    with pytest.raises(RecordRefused, match="P0001"), desk.sessions.begin() as session:
        session.execute(text(statement))
    assert desk.events() == before


def test_a_study_that_matches_no_route_leaves_a_line_and_an_audit_row(
    make_desk: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    desk = make_desk(CT_ROUTE.model_copy(update={"when": {"Modality": "MR"}}))
    desk.held.put(3)

    desk.record.complete(STUDY, actor="test")
    desk.record.complete(STUDY, actor="test")

    assert desk.record.requests() == ()
    (line,) = [line for line in desk.record.audit() if line.event == "study.unrouted"]
    assert (line.study_instance_uid, line.detail) == (STUDY, {"version": 1, "routes": 1})
    assert caplog.text.count(f"study {STUDY} matches no route of the 1 configured") == 1


@pytest.mark.parametrize("routes", [(), (CT_ROUTE,)])
def test_a_study_that_matches_or_a_node_without_routes_leaves_none(
    make_desk: Callable[..., Desk], routes: tuple[RouteSettings, ...]
) -> None:
    desk = make_desk(*routes)
    desk.held.put(3)

    desk.record.complete(STUDY, actor="test")

    assert "study.unrouted" not in desk.events()


def test_late_slices_make_a_version_that_supersedes_every_earlier_request(
    make_desk: Callable[..., Desk],
) -> None:
    # Arrange: one request by route, one by hand, one cancelled, on version 1
    desk = make_desk(CT_ROUTE)
    desk.held.put(3)
    desk.record.complete(STUDY, actor="test")
    by_route = desk.record.requests()[0]
    by_hand = desk.record.submit(STUDY, ["spleen"], destinations=["archive"], actor="jo").id
    cancelled = desk.record.submit(STUDY, ["aorta"], actor="jo").id
    desk.record.cancel(cancelled, actor="jo")

    # Act
    desk.held.put(2, first=4)
    desk.record.completion.index(STUDY)
    receiving = desk.record.study(STUDY).summary
    desk.record.complete(STUDY, actor="test")

    # Assert
    assert (receiving.state, receiving.version, receiving.instances) == ("RECEIVING", 1, 5)
    assert desk.record.study(STUDY).summary.version == 2
    assert [one.instances for one in desk.record.study(STUDY).versions] == [3, 5]
    first, second, third, *new = desk.record.requests()
    assert [first.state, second.state, third.state] == ["SUPERSEDED", "SUPERSEDED", "CANCELLED"]
    assert [(one.study_version, one.route, one.supersedes) for one in new] == [
        (2, "abdomen", by_route.id),
        (2, None, by_hand),
    ]
    again = desk.record.request(new[1].id)
    assert [target.text for target in again.targets] == ["spleen"]
    assert [delivery.destination for delivery in again.deliveries] == ["archive"]
    with pytest.raises(RunEnded) as ended:
        desk.runs.enter(by_route.id, 1, Stage.SELECT)
    assert ended.value.over


def test_the_same_again_changes_nothing(make_desk: Callable[..., Desk]) -> None:
    # Arrange
    desk = make_desk(CT_ROUTE)
    desk.held.put(3)
    desk.record.complete(STUDY, actor="test")
    before = desk.events()

    # Act: resent, indexed and completed again
    desk.held.put(3)
    desk.record.completion.index(STUDY)
    desk.record.complete(STUDY, actor="test")

    # Assert
    assert desk.events() == before
    assert len(desk.record.requests()) == 1
    assert desk.record.study(STUDY).summary.version == 1


def test_our_own_results_come_back_and_start_nothing(make_desk: Callable[..., Desk]) -> None:
    # Arrange: a study is done, its SEG comes back by the same route, known by its UID
    desk = make_desk(CT_ROUTE)
    desk.held.put(3)
    desk.record.complete(STUDY, actor="test")
    request_id = desk.record.requests()[0].id
    for stage in (Stage.SELECT, Stage.FINISH, Stage.WRITE):
        desk.runs.enter(request_id, 1, stage)
        desk.runs.selected(request_id, 1, Selection("1", (1, 1, 1), ()), 0.1)
    result = WrittenResult(ResultKind.SEG, Path("/x"), "1.2.3", f"{STUDY}.9.1", f"{STUDY}.9")
    desk.runs.written(request_id, 1, [result], 0.1)

    # Act
    desk.held.put(1, series=9)
    desk.record.completion.index(STUDY)
    state_then = desk.record.study(STUDY).summary.state
    desk.record.complete(STUDY, actor="test")

    # Assert
    view = desk.record.study(STUDY)
    assert state_then == StudyState.COMPLETE
    assert view.summary.version == 1
    assert [(one.instances, one.ours) for one in view.series] == [(3, False), (1, True)]
    assert [one.id for one in desk.record.requests()] == [request_id]


def test_an_image_that_names_our_manufacturer_is_not_ours(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(CT_ROUTE)
    desk.held.put(3, manufacturer=MANUFACTURER)
    view = desk.record.complete(STUDY, actor="test")
    assert [(one.instances, one.ours) for one in view.series] == [(3, False)]
    assert view.summary.version == 1
    assert len(desk.record.requests()) == 1


def test_conflicting_content_is_kept_apart_and_on_record_once(desk: Desk) -> None:
    desk.held.put(2)
    desk.held.conflicting = desk.held.instances(STUDY)[:1]
    desk.record.completion.index(STUDY)
    desk.record.completion.index(STUDY)
    assert [one.sop_instance_uid for one in desk.record.study(STUDY).conflicts] == [f"{STUDY}.1.1"]
    assert desk.events().count("instance.conflict") == 1


def test_text_that_the_database_cannot_hold_is_cleaned(desk: Desk) -> None:
    desk.held.put(1, series_description="a\0b\ud800", attributes={"StudyDescription": "x\0"})
    view = desk.record.complete(STUDY, actor="test")
    assert view.series[0].description == "a\ufffdb\ufffd"


def test_studies_on_disk_that_are_not_settled(desk: Desk) -> None:
    # Arrange: one complete, one complete that grew, one never seen
    grown, unseen = f"{STUDY}.2", f"{STUDY}.3"
    for study in (STUDY, grown):
        desk.held.put(2, study=study)
        desk.record.complete(study, actor="test")
    desk.held.put(1, study=grown, first=3)
    desk.held.put(1, study=unseen)

    # Act, Assert
    assert desk.record.completion.unsettled() == (grown, unseen)


def test_a_turn_again_replaces_itself(desk: Desk) -> None:
    request_id = desk.request()
    turn = Turn(7, 0, Role.KEY, Stop(), Outcome.STOPPED, reply="first")
    desk.runs.turn(request_id, 1, 0, turn)
    desk.runs.turn(request_id, 1, 0, Turn(7, 0, Role.KEY, Stop(), Outcome.STOPPED, reply="again"))
    [only] = desk.record.turns(request_id)
    assert (only.slice_index, only.turn_index, only.turn["reply"]) == (7, 0, "again")


def test_a_turn_is_found_by_its_number_in_the_list(desk: Desk) -> None:
    # Arrange: a later turn of the first target stands before those of the second
    request_id = desk.request("liver", "spleen")
    for index, place in ((0, 7), (1, 3), (0, 8)):
        desk.runs.turn(request_id, 1, index, Turn(place, 0, Role.KEY, Stop(), Outcome.STOPPED))

    turns = desk.record.turns(request_id)

    assert [(turn.target_index, turn.slice_index) for turn in turns] == [(0, 7), (0, 8), (1, 3)]
    assert [turn.n for turn in turns] == [0, 1, 2]
    assert tuple(desk.record.turn(request_id, n) for n in range(3)) == turns
    with pytest.raises(UnknownTurn, match="has no turn 3"):
        desk.record.turn(request_id, 3)


def test_whatever_a_language_model_says_can_be_recorded(desk: Desk) -> None:
    request_id = desk.request()
    said = reply_text(Answer("\0 \ud800 stop"))
    odd = Malformed(f"there is no function '{said}\0'")

    desk.runs.turn(request_id, 1, 0, Turn(7, 0, Role.KEY, odd, Outcome.REFUSED, reply=said))

    [only] = desk.record.turns(request_id)
    assert only.turn["reply"] == "\ufffd \ufffd stop"


def test_a_stale_run_can_write_nothing(desk: Desk) -> None:
    # Arrange: begun anew while an earlier run still works
    request_id = desk.request()
    desk.runs.fail(request_id, 1, Stage.SELECT, "broken")
    desk.record.retry(request_id, actor="jo")

    # Act, Assert: and the later run may use what it left
    with pytest.raises(RunEnded) as ended:
        desk.runs.selected(request_id, 1, Selection("1.2", (1, 2, 3), ()), 0.1)
    assert not ended.value.over
    assert desk.runs.enter(request_id, 2, Stage.SELECT).request_id == request_id


def test_a_stage_that_never_ends_is_given_up(desk: Desk) -> None:
    request_id = desk.request()
    for _ in range(5):
        desk.runs.enter(request_id, 1, Stage.SELECT)
    with pytest.raises(RunEnded):
        desk.runs.enter(request_id, 1, Stage.SELECT)
    view = desk.record.request(request_id)
    assert (view.state, view.failed_stage) == (RequestState.FAILED, "select")


def test_work_of_an_older_pipeline_begins_anew(make_desk: Callable[..., Desk]) -> None:
    # Arrange: one in the middle, one ended, under pipeline 1
    old = make_desk()
    halfway, ended = old.request(), old.request()
    old.runs.enter(halfway, 1, Stage.SELECT)
    old.runs.selected(halfway, 1, Selection("1.2", (1, 2, 3), ()), 0.1)
    old.record.cancel(ended, actor="jo")
    new = make_desk(pipeline_version=PIPELINE_VERSION + 1, held=old.held)

    # Act
    with new.sessions.begin() as session:
        renewed = requests.begin_older_anew(session, new.jobs)

    # Assert
    assert renewed == 1
    view = new.record.request(halfway)
    assert (view.state, view.run) == (RequestState.QUEUED, 2)
    assert f"{halfway}:run-2" in queued_jobs(new.url)
    assert new.record.request(ended).state == RequestState.CANCELLED


def test_one_request_that_cannot_begin_anew_keeps_no_other_from_it(
    make_desk: Callable[..., Desk],
) -> None:
    # Arrange: PostgreSQL refuses every second run of the first of two
    old = make_desk()
    ids = [old.request(), old.request()]
    with old.sessions.begin() as session:
        session.execute(
            text(f"ALTER TABLE requests ADD CHECK (id <> '{ids[0]}' OR run = 1)"),
        )
    new = make_desk(pipeline_version=PIPELINE_VERSION + 1, held=old.held)

    # Act
    with new.sessions.begin() as session:
        renewed = requests.begin_older_anew(session, new.jobs)

    # Assert
    assert renewed == 1
    assert [new.record.request(each).run for each in ids] == [1, 2]


def test_a_database_that_is_away_is_one_error_of_ours() -> None:
    sessions = Sessions(open_engine("postgresql://nobody@127.0.0.1:1/nothing"))
    with (
        pytest.raises(RecordUnavailable, match=r"check database\.url"),
        sessions.begin() as session,
    ):
        session.execute(text("SELECT 1"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss@db.example:5433/node",
        "postgresql+psycopg://user:p%40ss@db.example:5433/node",
        "postgresql+psycopg2://user:p%40ss@db.example:5433/node",
    ],
)
def test_one_database_two_drivers(url: str) -> None:
    assert record_url(url).drivername == "postgresql+psycopg2"
    assert record_url(url).password == "p@ss"
    assert dbos_url(url) == "postgresql://user:p%40ss@db.example:5433/node"
