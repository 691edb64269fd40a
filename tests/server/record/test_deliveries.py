"""Deliveries on record: tries, the next try, the end; and how hard a destination is tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from dicom_node.fakes import FakeDestination
from dicom_node.values import ResultKind, WrittenResult
from server.errors import RunEnded, WrongState
from server.record.database.jobs import PIPELINE_VERSION, open_client
from server.record.deliveries import DeliveryAttempt
from server.values import DeliveryState, RequestState, Selection, Stage
from server.work.delivery import DeliveryStep, RetryPolicy
from tests.server.conftest import STUDY, Desk

SEG = WrittenResult(
    ResultKind.SEG, Path("/results/seg.dcm"), "1.2.840.10008.5.1.4.1.1.66.4", "2.25.1", "2.25.2"
)
SR = WrittenResult(
    ResultKind.SR, Path("/results/sr.dcm"), "1.2.840.10008.5.1.4.1.1.88.22", "2.25.3", "2.25.4"
)
ONE_TRY, THREE_TRIES = RetryPolicy(1, 5.0, 600.0), RetryPolicy(3, 5.0, 600.0)


def sending(desk: Any, *destinations: str, results: Sequence[WrittenResult] = (SEG,)) -> str:
    """A request whose result is written and whose deliveries are queued; its id."""
    request_id: str = desk.request(destinations=destinations or ("pacs",))
    desk.runs.enter(request_id, 1, Stage.SELECT)
    desk.runs.selected(request_id, 1, Selection("1.2", (1, 2, 3), ()), 0.1)
    desk.runs.enter(request_id, 1, Stage.FINISH, 0)
    desk.runs.enter(request_id, 1, Stage.WRITE)
    desk.runs.written(request_id, 1, results, 0.1)
    desk.runs.send(request_id, 1)
    return request_id


def first_try(request_id: str, destination: str = "pacs", attempt: int = 1) -> DeliveryAttempt:
    return DeliveryAttempt(request_id, destination, run=1, attempt=attempt)


def queued(desk: Any) -> dict[str, str]:
    client = open_client(desk.url)
    try:
        found = client.list_workflows(queue_name="deliveries")
        return {one.workflow_id: str(one.status) for one in found}
    finally:
        client.destroy()


def due_in_s(desk: Any, job: str) -> float:
    """Seconds until a job that is queued for later is due."""
    client = open_client(desk.url)
    try:
        (found,) = client.list_workflows(workflow_ids=[job])
        return (found.delay_until_epoch_ms or 0) / 1000 - time.time()
    finally:
        client.destroy()


def test_each_destination_has_its_own_job(desk: Desk) -> None:
    request_id = sending(desk, "pacs", "archive")
    assert queued(desk) == {
        f"{request_id}:send:archive:1": "ENQUEUED",
        f"{request_id}:send:pacs:1": "ENQUEUED",
    }


def test_sending_again_after_a_crash_queues_nothing_twice(desk: Desk) -> None:
    request_id = sending(desk)
    desk.runs.send(request_id, 1)
    assert list(queued(desk)) == [f"{request_id}:send:pacs:1"]


def test_a_failed_try_queues_the_next_for_later(desk: Desk) -> None:
    request_id = sending(desk)
    desk.deliveries.failed(first_try(request_id), "connection refused", 0.5, 300.0)
    [delivery] = desk.record.request(request_id).deliveries
    assert (delivery.state, delivery.attempts) == (DeliveryState.RETRYING, 1)
    assert delivery.last_error == "connection refused"
    assert delivery.next_try_at is not None
    assert (
        timedelta(seconds=280) < delivery.next_try_at - datetime.now(UTC) < timedelta(seconds=301)
    )
    assert queued(desk)[f"{request_id}:send:pacs:2"] == "DELAYED"


def states(desk: Desk, request_id: str) -> dict[str, str]:
    """The state of each delivery of a request."""
    deliveries = desk.record.request(request_id).deliveries
    return {delivery.destination: str(delivery.state) for delivery in deliveries}


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda desk, request: desk.record.cancel(request, actor="jo"), "CANCELLED"),
        (lambda desk, request: desk.runs.fail(request, 1, Stage.SEND, "broken"), "FAILED"),
        (lambda desk, _: more_slices(desk), "SUPERSEDED"),
    ],
)
def test_what_is_not_delivered_when_a_request_ends_otherwise_is_withdrawn(
    make_desk: Callable[..., Desk], end: Callable[[Desk, str], object], state: str
) -> None:
    names = ("archive", "pacs", "workstation")
    desk = make_desk(destinations=names)
    request_id = sending(desk, *names)
    desk.deliveries.delivered(first_try(request_id, "archive"), [ResultKind.SEG], 0.1)
    desk.deliveries.failed(first_try(request_id), "connection refused", 0.5, 300.0)

    end(desk, request_id)

    view = desk.record.request(request_id)
    assert view.state == state
    assert states(desk, request_id) == {
        "archive": "delivered",
        "pacs": "withdrawn",
        "workstation": "withdrawn",
    }
    assert all(delivery.next_try_at is None for delivery in view.deliveries)
    assert view.deliveries[1].last_error == "connection refused"
    ended = [line for line in desk.record.audit() if line.after == state]
    assert ended[-1].detail["withdrawn"] == ["pacs", "workstation"]
    with pytest.raises(RunEnded):
        desk.deliveries.begin(first_try(request_id, "pacs", attempt=2))


def more_slices(desk: Desk) -> None:
    """A later version of the study."""
    desk.held.put(1, first=90)
    desk.record.complete(STUDY, actor="test")


def test_a_rejected_request_sends_nothing_and_says_so(desk: Desk) -> None:
    request_id = desk.request()
    desk.runs.reject(request_id, 1, "no volume")

    assert states(desk, request_id) == {"pacs": "withdrawn"}


def test_a_retry_of_work_that_failed_wants_its_deliveries_again(desk: Desk) -> None:
    request_id = desk.request()
    desk.runs.fail(request_id, 1, Stage.SELECT, "broken")

    desk.record.retry(request_id, actor="jo")

    assert states(desk, request_id) == {"pacs": "pending"}


def test_a_retry_of_what_was_to_be_sent_sends_what_was_withdrawn(desk: Desk) -> None:
    request_id = sending(desk, "archive", "pacs")
    desk.deliveries.delivered(first_try(request_id, "archive"), [ResultKind.SEG], 0.1)
    desk.runs.fail(request_id, 1, Stage.SEND, "broken")

    desk.record.retry(request_id, actor="jo")

    assert states(desk, request_id) == {"archive": "delivered", "pacs": "pending"}
    assert f"{request_id}:run-2:send:pacs:1" in queued(desk)


def test_what_was_cancelled_is_not_tried_again_but_asked_for_anew(desk: Desk) -> None:
    request_id = desk.request()
    desk.record.cancel(request_id, actor="jo")

    with pytest.raises(WrongState, match="CANCELLED: make a new request"):
        desk.record.retry(request_id, actor="jo")
    assert states(desk, request_id) == {"pacs": "withdrawn"}


@pytest.mark.parametrize("again_in_s", [300.0, None])
def test_a_try_that_is_on_record_cannot_be_recorded_again(
    desk: Desk, again_in_s: float | None
) -> None:
    # Arrange: a worker died after the record, before its step had ended
    request_id = sending(desk, "pacs", "archive")
    desk.deliveries.failed(first_try(request_id), "refused", 0.5, again_in_s)
    before = desk.events(request_id)

    # Act, Assert
    with pytest.raises(RunEnded):
        desk.deliveries.begin(first_try(request_id))
    with pytest.raises(RunEnded):
        desk.deliveries.failed(first_try(request_id), "refused", 0.5, again_in_s)
    assert desk.events(request_id) == before


def test_the_request_ends_with_its_last_delivery(desk: Desk) -> None:
    request_id = sending(desk, "pacs", "archive")
    desk.deliveries.delivered(first_try(request_id), [ResultKind.SEG], 0.25)
    halfway = desk.record.request(request_id).state
    desk.deliveries.delivered(first_try(request_id, "archive"), [], 0.25)
    view = desk.record.request(request_id)
    assert (halfway, view.state) == (RequestState.SENDING, RequestState.DONE)
    assert view.stage_seconds["send"] == 0.5
    assert view.ended_at is not None


def test_one_dead_delivery_fails_the_request_once_the_others_have_ended(desk: Desk) -> None:
    request_id = sending(desk, "pacs", "archive")
    desk.deliveries.failed(first_try(request_id), "does not take SEG", 0.1, None)
    assert desk.record.request(request_id).state == RequestState.SENDING
    desk.deliveries.delivered(first_try(request_id, "archive"), [], 0.1)
    view = desk.record.request(request_id)
    assert (view.state, view.failed_stage) == (RequestState.FAILED, "send")
    assert view.error == "could not be delivered to pacs: does not take SEG"


def test_a_cancelled_request_is_not_sent(desk: Desk) -> None:
    request_id = sending(desk)
    desk.record.cancel(request_id, actor="jo")
    pacs = FakeDestination("pacs")
    step = DeliveryStep({"pacs": pacs}, desk.deliveries, ONE_TRY)
    assert step.attempt(first_try(request_id)) == "ended"
    assert pacs.delivered == []


@pytest.mark.parametrize(
    ("kinds", "kinds_sent"),
    [(("SEG", "SR"), ["SEG", "SR"]), (("SEG",), ["SEG"]), (("SR",), ["SR"])],
)
def test_a_destination_is_sent_the_kinds_that_it_takes(
    desk: Desk, kinds: tuple[str, ...], kinds_sent: list[str]
) -> None:
    # Arrange
    request_id = sending(desk, results=[SEG, SR])
    pacs = FakeDestination("pacs", kinds=[ResultKind(kind) for kind in kinds])

    # Act
    DeliveryStep({"pacs": pacs}, desk.deliveries, ONE_TRY).attempt(first_try(request_id))

    # Assert: sent, shown and audited
    assert [[result.kind for result in results] for results in pacs.delivered] == [kinds_sent]
    [delivery] = desk.record.request(request_id).deliveries
    assert (delivery.state, list(delivery.kinds)) == (DeliveryState.DELIVERED, kinds_sent)
    [line] = [line for line in desk.record.audit() if line.event == "delivery.delivered"]
    assert line.detail["kinds"] == kinds_sent


@pytest.mark.parametrize("how", ["", "as binary: it takes no Label Map Segmentation"])
def test_how_segmentations_went_is_in_the_audit(desk: Desk, how: str) -> None:
    request_id = sending(desk)
    pacs = FakeDestination("pacs")
    pacs.how = how

    DeliveryStep({"pacs": pacs}, desk.deliveries, ONE_TRY).attempt(first_try(request_id))

    [line] = [line for line in desk.record.audit() if line.event == "delivery.delivered"]
    assert line.detail.get("segmentation", "") == how


def test_a_destination_that_takes_nothing_of_what_was_written_says_so(desk: Desk) -> None:
    request_id = sending(desk, results=[SEG])
    pacs = FakeDestination("pacs", kinds=[ResultKind.SR])

    DeliveryStep({"pacs": pacs}, desk.deliveries, ONE_TRY).attempt(first_try(request_id))

    view = desk.record.request(request_id)
    assert (view.state, view.deliveries[0].kinds) == (RequestState.DONE, ())
    assert [result.kind for result in view.results] == ["SEG"]


def test_the_step_under_way_is_on_record(desk: Desk) -> None:
    request_id = desk.request()
    before = desk.record.request(request_id).stage

    desk.runs.enter(request_id, 1, Stage.SELECT)
    selecting = desk.record.request(request_id).stage
    desk.runs.selected(request_id, 1, Selection("1.2", (1, 2, 3), ()), 0.1)
    desk.runs.enter(request_id, 1, Stage.OUTLINE, 1)

    assert (before, selecting) == (None, "select")
    assert desk.record.request(request_id).stage == "outline 1"


def test_why_a_series_was_selected_is_on_record(desk: Desk) -> None:
    why = "Chosen: series 3 (CT, 20 images), original, axial, 20 slices."
    request_id = desk.request()
    desk.runs.enter(request_id, 1, Stage.SELECT)

    desk.runs.selected(request_id, 1, Selection("1.2", (1, 2, 3), (), why), 0.1)

    assert desk.record.request(request_id).series_choice == why
    [line] = [line for line in desk.record.audit() if line.event == "request.selected"]
    assert line.detail["series_choice"] == why


def test_what_was_written_is_what_is_sent(desk: Desk) -> None:
    request_id = sending(desk)
    pacs = FakeDestination("pacs")
    step = DeliveryStep({"pacs": pacs}, desk.deliveries, ONE_TRY)
    assert step.attempt(first_try(request_id)) == "delivered"
    [[sent]] = pacs.delivered
    assert (sent.kind, sent.path, sent.sop_instance_uid) == (
        "SEG",
        Path("/results/seg.dcm"),
        "2.25.1",
    )


@pytest.mark.parametrize(
    ("failure", "policy", "expected"),
    [
        (TransientDeliveryError("0xA700", destination="pacs"), THREE_TRIES, "retrying"),
        (TransientDeliveryError("0xA700", destination="pacs"), ONE_TRY, "dead"),
        (PermanentDeliveryError("0xA900", destination="pacs"), THREE_TRIES, "dead"),
        (OSError("a surprise"), THREE_TRIES, "retrying"),
    ],
)
def test_transient_and_permanent_failures(
    desk: Desk, failure: Exception, policy: RetryPolicy, expected: str
) -> None:
    request_id = sending(desk)
    pacs = FakeDestination("pacs", [failure])
    DeliveryStep({"pacs": pacs}, desk.deliveries, policy).attempt(first_try(request_id))
    assert desk.record.request(request_id).deliveries[0].state == expected


def test_a_destination_that_was_taken_out_of_the_configuration(desk: Desk) -> None:
    request_id = sending(desk)
    DeliveryStep({}, desk.deliveries, THREE_TRIES).attempt(first_try(request_id))
    view = desk.record.request(request_id)
    assert view.state == RequestState.FAILED
    assert "no destination called 'pacs' is configured any more" in (view.error or "")


def test_the_tries_of_an_earlier_run_are_not_wanted_any_more(desk: Desk) -> None:
    request_id = sending(desk)
    desk.deliveries.failed(first_try(request_id), "refused", 0.1, None)
    desk.record.retry(request_id, actor="jo")
    with pytest.raises(RunEnded):
        desk.deliveries.begin(first_try(request_id))
    later = DeliveryAttempt(request_id, "pacs", run=2, attempt=1)
    assert [one.sop_instance_uid for one in desk.deliveries.begin(later)] == ["2.25.1"]


def test_retry_while_sending_means_now(desk: Desk) -> None:
    # Arrange: one destination has everything, the other is tried again in an hour
    request_id = sending(desk, "pacs", "archive")
    desk.deliveries.delivered(first_try(request_id, "archive"), [ResultKind.SEG], 0.1)
    desk.deliveries.failed(first_try(request_id), "refused", 0.1, 3600.0)

    # Act
    view = desk.record.retry(request_id, actor="jo")

    # Assert: what waited is queued at once in a run of its own, what was delivered is left alone
    archive, pacs = sorted(view.deliveries, key=lambda delivery: delivery.destination)
    assert (view.state, archive.state, pacs.state) == ("SENDING", "delivered", "pending")
    assert pacs.next_try_at is None
    assert [job for job in queued(desk) if ":run-2:" in job] == [f"{request_id}:run-2:send:pacs:1"]
    with pytest.raises(RunEnded):
        desk.deliveries.begin(first_try(request_id, attempt=2))


def test_what_waits_is_due_once_its_destination_answers(desk: Desk) -> None:
    # Arrange: two destinations are tried again in an hour
    request_id = sending(desk, "pacs", "archive")
    for name in ("pacs", "archive"):
        desk.deliveries.failed(first_try(request_id, name), "refused", 0.1, 3600.0)

    # Act
    woken = desk.deliveries.send_now("pacs", actor="jo")
    again = desk.deliveries.send_now("pacs", actor="jo")

    # Assert
    archive, pacs = sorted(
        desk.record.request(request_id).deliveries, key=lambda delivery: delivery.destination
    )
    assert (woken, again) == (1, 0)
    assert pacs.next_try_at is not None
    assert archive.next_try_at is not None
    assert pacs.next_try_at <= datetime.now(UTC) < archive.next_try_at
    assert due_in_s(desk, f"{request_id}:send:pacs:2") < 1
    assert due_in_s(desk, f"{request_id}:send:archive:2") > 3000
    told = [line for line in desk.record.audit() if line.event == "delivery.now"]
    assert [(line.actor, line.detail["destination"]) for line in told] == [("jo", "pacs")]


def test_a_delivery_that_is_taken_makes_the_others_due(desk: Desk) -> None:
    waiting, taken = sending(desk), sending(desk)
    desk.deliveries.failed(first_try(waiting), "refused", 0.1, 3600.0)

    desk.deliveries.delivered(first_try(taken), [ResultKind.SEG], 0.1)

    assert due_in_s(desk, f"{waiting}:send:pacs:2") < 1
    assert desk.events(waiting)[-1] == "delivery.now"


def test_nothing_is_due_of_a_request_that_has_ended(desk: Desk) -> None:
    request_id = sending(desk)
    desk.deliveries.failed(first_try(request_id), "refused", 0.1, 3600.0)
    desk.record.cancel(request_id, actor="jo")

    assert desk.deliveries.send_now("pacs", actor="jo") == 0


def test_work_of_an_older_pipeline_that_was_sending_only_sends_again(
    make_desk: Callable[..., Desk],
) -> None:
    from server.record import requests

    old = make_desk()
    request_id = sending(old)
    new = make_desk(pipeline_version=PIPELINE_VERSION + 1, held=old.held)
    with new.sessions.begin() as session:
        requests.begin_older_anew(session, new.jobs)
    assert new.record.request(request_id).state == RequestState.SENDING
    assert f"{request_id}:run-2:send:pacs:1" in queued(new)


@pytest.mark.parametrize(
    ("attempt", "draw", "expected_s"),
    [
        (1, 0.0, 5.0),
        (2, 0.0, 10.0),
        (
            1,
            1.0,
            3.75,
        ),  # a quarter less at most: those that failed together do not come back together
        (7, 0.0, 20.0),  # never longer than that
        (8, 0.0, None),  # that was the last
    ],
)
def test_waiting_between_tries(attempt: int, draw: float, expected_s: float | None) -> None:
    assert RetryPolicy(8, 5.0, 20.0).wait_s(attempt, lambda: draw) == expected_s


def test_a_request_knows_how_many_there_were_on_its_study_before(desk: Desk) -> None:
    study = desk.complete_study()
    first, second = (
        desk.record.submit(study, [text], destinations=["pacs"], actor="jo").id
        for text in ("liver", "spleen")
    )

    ordinals = [desk.runs.enter(each, 1, Stage.SELECT).ordinal for each in (second, first)]

    assert ordinals == [1, 0]
