"""Who asks the same of the same models again gets the same results, unless the work is forced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from server.fakes import FolderDestination
from server.record.views import RequestView
from server.values import DeliveryState, RequestState
from server.work.worker import Worker
from tests.server.conftest import STUDY, Desk

StartWorker = Callable[..., Worker]


def answered(desk: Desk, *targets: str, force: bool = False, to: str = "pacs") -> RequestView:
    """A request of these targets when it is done; the study is complete before."""
    submitted = desk.record.submit(STUDY, targets, destinations=(to,), force=force, actor="jo")
    assert desk.wait_for_end(submitted.id) == RequestState.DONE
    return desk.record.request(submitted.id)


def uids(view: RequestView) -> list[str]:
    return [result.sop_instance_uid for result in view.results]


@pytest.fixture
def points() -> list[str]:
    """The stages that were come by."""
    return []


@pytest.fixture
def worker(desk: Desk, start_worker: StartWorker, points: list[str]) -> Worker:
    desk.complete_study()
    return start_worker(stage_hook=points.append, models="locator + litemedsam")


@pytest.mark.usefixtures("worker")
def test_the_same_request_gives_the_same_results_without_the_work(
    desk: Desk, points: list[str], tmp_path: Path
) -> None:
    first = answered(desk, "liver", "absent")
    points.clear()

    again = answered(desk, "liver", "absent", to="archive")

    # the answer, its turns and what vouches for it
    assert again.repeats == first.id
    assert first.repeats is None
    assert uids(again) == uids(first)
    assert again.targets == first.targets
    earlier_turns = [(turn.n, turn.turn) for turn in desk.record.turns(first.id)]
    assert [(turn.n, turn.turn) for turn in desk.record.turns(again.id)] == earlier_turns
    # no work but to read the series, and the delivery is its own
    assert points == ["select", "reuse", "discard"]
    assert [(d.destination, d.state) for d in again.deliveries] == [
        ("archive", DeliveryState.DELIVERED)
    ]
    archive = FolderDestination("archive", tmp_path / "archive")
    assert archive.stored("SEG") == uids(first)[:1]


@pytest.mark.usefixtures("worker")
def test_the_audit_says_whose_results_they_are(desk: Desk) -> None:
    first, again = answered(desk, "liver"), answered(desk, "liver")

    events = {line.event: line for line in desk.record.audit() if line.request_id == again.id}
    assert events["request.writing"].detail["repeats"] == first.id
    assert "target.segmented" not in events


@pytest.mark.usefixtures("worker")
def test_forced_work_is_done_anew_and_repeated_from_then_on(desk: Desk) -> None:
    first = answered(desk, "liver")

    forced = answered(desk, "liver", force=True)
    after = answered(desk, "liver")

    assert forced.repeats is None
    assert not set(uids(forced)) & set(uids(first))
    assert (after.repeats, uids(after)) == (forced.id, uids(forced))


@pytest.mark.usefixtures("worker")
def test_other_targets_and_a_newer_study_are_worked_on(desk: Desk) -> None:
    first = answered(desk, "liver")

    assert answered(desk, "spleen").repeats is None
    desk.complete_study(slices=4)  # asks the same again of the new version
    assert not set(uids(answered(desk, "liver"))) & set(uids(first))


@pytest.mark.usefixtures("worker")
def test_what_failed_before_is_tried_again(desk: Desk) -> None:
    assert "failed" in [target.status for target in answered(desk, "liver", "unknown").targets]

    assert answered(desk, "liver", "unknown").repeats is None


@pytest.mark.usefixtures("worker")
def test_results_whose_files_have_gone_are_made_anew(desk: Desk, tmp_path: Path) -> None:
    first = answered(desk, "liver")
    for path in (tmp_path / "work").glob("*.seg"):
        path.unlink()

    again = answered(desk, "liver")

    assert again.repeats is None
    assert not set(uids(again)) & set(uids(first))


def test_other_models_are_asked_themselves(desk: Desk, start_worker: StartWorker) -> None:
    desk.complete_study()
    worker = start_worker(models="locator + litemedsam")
    answered(desk, "liver")
    worker.stop(grace_s=5)

    start_worker(models="locator + sam2")

    assert answered(desk, "liver").repeats is None


def test_what_was_cancelled_in_doubt_is_not_given_again(
    desk: Desk, start_worker: StartWorker
) -> None:
    # Arrange: the results of the first are written, and cancelled while they are sent
    desk.complete_study()

    def cancel(point: str) -> None:
        if point == "send":
            desk.record.cancel(desk.record.requests()[0].id, actor="jo")

    worker = start_worker(send_hook=cancel, models="locator")
    first = desk.record.submit(STUDY, ("liver",), destinations=("pacs",), actor="jo").id
    assert desk.wait_for_end(first) == RequestState.CANCELLED
    worker.stop(grace_s=5)

    # Act
    start_worker(models="locator")

    # Assert
    assert answered(desk, "liver", to="archive").repeats is None
