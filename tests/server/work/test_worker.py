"""A worker in this process, on a real database and with real DBOS: requests go all the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.values import TargetStatus
from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from server.errors import WrongState
from server.fakes import FailingHook, FolderDestination
from server.values import DeliveryState, RequestState
from server.work.worker import Worker
from tests.server.conftest import Desk


def _stored(tmp_path: Path, destination: str, kind: str) -> list[str]:
    return FolderDestination(destination, tmp_path / destination).stored(kind)


def test_a_request_goes_all_the_way(
    desk: Desk, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    # Arrange
    request_id = desk.request("liver", "spleen", destinations=("pacs", "archive"))

    # Act
    start_worker()
    state = desk.wait_for_end(request_id)

    # Assert
    view = desk.record.request(request_id)
    assert state == RequestState.DONE
    assert [target.status for target in view.targets] == [TargetStatus.SEGMENTED] * 2
    assert [target.volume_ml for target in view.targets] == [12.5, 12.5]
    assert [result.kind for result in view.results] == ["SEG", "SR"]
    assert [(d.destination, d.state, d.attempts) for d in view.deliveries] == [
        ("archive", DeliveryState.DELIVERED, 1),
        ("pacs", DeliveryState.DELIVERED, 1),
    ]
    assert _stored(tmp_path, "pacs", "SEG") == [view.results[0].sop_instance_uid]
    assert view.encoder_passes == 3
    assert set(view.stage_seconds) == {"select", "segment", "write", "send"}
    assert view.warnings == ("spacing differs by 1 %",)
    assert view.series_instance_uid == f"{view.study_instance_uid}.1"
    assert len(desk.record.turns(request_id)) == 4
    assert desk.events(request_id) == [
        "request.queued",
        "request.selected",
        "request.segmenting",
        "target.segmented",
        "target.segmented",
        "request.writing",
        "request.sending",
        "delivery.delivered",
        "delivery.delivered",
        "request.done",
    ]


@pytest.mark.parametrize(("at_once", "most"), [(1, 1), (2, 2)])
def test_as_many_requests_are_worked_on_at_a_time_as_the_site_says(
    desk: Desk, start_worker: Callable[..., Worker], at_once: int, most: int
) -> None:
    # Arrange: a request waits for another one, in vain where there is none
    inside: list[int] = []
    together = threading.Barrier(2)

    def meet(point: str) -> None:
        if point == "follow":
            try:
                together.wait(3.0)
                inside.append(2)
            except threading.BrokenBarrierError:
                inside.append(1)

    requests = [desk.request(destinations=()) for _ in range(2)]

    # Act
    start_worker(stage_hook=meet, requests_at_once=at_once)

    # Assert
    assert [desk.wait_for_end(one) for one in requests] == [RequestState.DONE] * 2
    assert max(inside) == most


def test_with_nowhere_to_send_it_is_done_when_written(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    request_id = desk.request(destinations=())
    start_worker()
    assert desk.wait_for_end(request_id) == RequestState.DONE


def test_no_volume_is_rejected_with_its_sentence(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    uid = desk.request("no volume")
    start_worker()
    assert desk.wait_for_end(uid) == RequestState.REJECTED
    assert desk.record.request(uid).error == (
        "series 1 is no volume: images 3 and 4 are at the same position"
    )


def test_an_unexpected_failure_names_its_stage_and_not_the_error_text(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    # Arrange: an error that quotes a patient's name
    def fail(point: str) -> None:
        if point == "write":
            raise KeyError("Doe^Jane")

    request_id = desk.request()

    # Act
    start_worker(stage_hook=fail)

    # Assert
    assert desk.wait_for_end(request_id) == RequestState.FAILED
    view = desk.record.request(request_id)
    assert view.failed_stage == "write"
    assert view.error == "stage 'write' ended with a fault of Segnode itself; the log says where"


def test_a_retry_uses_what_was_done_and_ends_well(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    # Arrange: writing fails once
    failures = [OSError("disk")]

    def fail_once(point: str) -> None:
        if point == "write" and failures:
            raise failures.pop()

    request_id = desk.request()
    start_worker(stage_hook=fail_once)
    assert desk.wait_for_end(request_id) == RequestState.FAILED

    # Act
    retried = desk.record.retry(request_id, actor="jo")

    # Assert
    assert retried.state == RequestState.QUEUED
    assert retried.error is None
    assert desk.wait_for_end(request_id) == RequestState.DONE
    assert desk.record.request(request_id).run == 2
    assert len(desk.record.turns(request_id)) == 2


def test_a_destination_that_comes_back_gets_it(
    desk: Desk, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    # Arrange: two tries fail, the third may
    down = TransientDeliveryError("connection refused", destination="pacs")
    request_id = desk.request()

    # Act
    start_worker(send_hook=FailingHook("send", [down, down]))

    # Assert
    assert desk.wait_for_end(request_id) == RequestState.DONE
    delivery = desk.record.request(request_id).deliveries[0]
    assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 3)
    assert desk.events(request_id).count("delivery.retrying") == 2
    assert len(_stored(tmp_path, "pacs", "SEG")) == 1


def test_a_destination_that_refuses_is_not_asked_again(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    refused = PermanentDeliveryError("does not take SEG", destination="pacs")
    request_id = desk.request()
    start_worker(send_hook=FailingHook("send", [refused]))
    assert desk.wait_for_end(request_id) == RequestState.FAILED
    view = desk.record.request(request_id)
    assert (view.deliveries[0].state, view.deliveries[0].attempts) == (DeliveryState.DEAD, 1)
    assert view.error == "could not be delivered to pacs: does not take SEG"


def test_after_the_last_try_a_retry_only_sends(
    desk: Desk, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    # Arrange: one destination is down for as long as it is tried, the other takes it
    down = TransientDeliveryError("connection refused", destination="pacs")
    request_id = desk.request(destinations=("pacs", "archive"))
    start_worker(send_hook=FailingHook("send", [down] * 3))
    assert desk.wait_for_end(request_id) == RequestState.FAILED
    before = desk.events(request_id)

    # Act
    retried = desk.record.retry(request_id, actor="jo")

    # Assert: nothing is computed again, nothing is sent twice
    assert retried.state == RequestState.SENDING
    assert desk.wait_for_end(request_id) == RequestState.DONE
    assert desk.events(request_id)[len(before) :] == [
        "request.sending",
        "delivery.delivered",
        "request.done",
    ]
    assert (tmp_path / "archive" / "sends").read_text().count("SEG") == 1


def test_cancelling_stops_at_the_next_turn(desk: Desk, start_worker: Callable[..., Worker]) -> None:
    # Arrange: cancelled between the first and the second turn
    request_id = desk.request("liver", "spleen")
    seen: list[str] = []

    def cancel(point: str) -> None:
        seen.append(point)
        if point == "segment 0 turn 0":
            desk.record.cancel(request_id, actor="jo")

    # Act
    start_worker(stage_hook=cancel)
    assert desk.wait_for_end(request_id) == RequestState.CANCELLED
    later = desk.record.submit(
        desk.record.request(request_id).study_instance_uid, ["liver"], actor="t"
    )
    desk.wait_for_end(later.id)

    # Assert: the first request's second turn was refused, its files removed
    assert seen[:4] == ["select", "outline 0", "outline 1", "follow"]
    assert seen[4:7] == ["segment 0", "segment 0 turn 0", "discard"]
    assert len(desk.record.turns(request_id)) == 1
    with pytest.raises(WrongState, match="DONE cannot become CANCELLED"):
        desk.record.cancel(later.id, actor="jo")


def test_a_dead_pacs_does_not_hold_up_other_requests(
    desk: Desk, start_worker: Callable[..., Worker], until: Any
) -> None:
    # Arrange: more undeliverable requests than deliveries at once
    down = TransientDeliveryError("connection refused", destination="pacs")
    stuck = [desk.request() for _ in range(6)]
    start_worker(send_hook=FailingHook("send", [down] * 1000), attempts=1000)
    until(lambda: all(desk.record.request(one).deliveries[0].attempts for one in stuck))

    # Act
    free = desk.request(destinations=("archive",))

    # Assert
    assert desk.wait_for_end(free) == RequestState.DONE
