"""Work is taken when it is announced: here nothing asks for it at intervals."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dicom_node.errors import TransientDeliveryError
from server.fakes import FailingHook
from server.values import RequestState
from server.work.queues import Pace, WakeableStop
from server.work.worker import Worker
from tests.server.conftest import Desk

# an hour between two questions: what starts within a test has been announced
ONLY_WOKEN = Pace(idle_s=3600.0, busy_s=3600.0, linger_s=0.0)


def test_a_request_starts_when_it_is_queued(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    start_worker(pace=ONLY_WOKEN)

    first, second = (desk.wait_for_end(desk.request()) for _ in range(2))

    assert (first, second) == (RequestState.DONE, RequestState.DONE)


def test_work_from_before_the_start_is_taken(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    request_id = desk.request()

    start_worker(pace=ONLY_WOKEN)

    assert desk.wait_for_end(request_id) == RequestState.DONE


def test_a_delayed_delivery_is_tried_when_it_is_due(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    away = TransientDeliveryError("nobody answers", destination="pacs")
    start_worker(send_hook=FailingHook("send", [away]), pace=ONLY_WOKEN)

    request_id = desk.request()

    assert desk.wait_for_end(request_id) == RequestState.DONE
    assert [d.attempts for d in desk.record.request(request_id).deliveries] == [2]


def test_a_lost_connection_is_replaced(desk: Desk, start_worker: Callable[..., Worker]) -> None:
    from sqlalchemy import text

    start_worker(pace=ONLY_WOKEN)
    desk.wait_for_end(desk.request())

    with desk.sessions.begin() as session:
        ended = session.scalars(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE '%delay_until_epoch_ms%' AND pid <> pg_backend_pid()"
            )
        ).all()

    assert ended
    assert desk.wait_for_end(desk.request()) == RequestState.DONE


def test_a_wait_ends_when_it_is_woken_before_or_while_it_lasts() -> None:
    stop = WakeableStop(lambda: False, ONLY_WOKEN)
    results: list[bool] = []

    stop.wake()
    results.append(stop.wait(1.0))
    waiting = threading.Thread(target=lambda: results.append(stop.wait(1.0)))
    waiting.start()
    stop.wake()
    waiting.join(30.0)
    stop.set()
    results.append(stop.wait(1.0))

    assert results == [False, False, True]
    assert stop.is_set()


def test_questions_are_frequent_while_work_runs_and_a_moment_longer() -> None:
    # Arrange: the clock stands still, and an idle wait would last an hour
    busy, now_s = [True], [0.0]
    pace = Pace(idle_s=3600.0, busy_s=0.001, linger_s=5.0)
    stop = WakeableStop(lambda: busy[0], pace, clock=lambda: now_s[0])

    # Act: busy for long, then within the moment after
    now_s[0] = 100.0
    waited_busy = stop.wait(1.0)
    busy[0], now_s[0] = False, 104.0
    waited_after = stop.wait(1.0)
    now_s[0] = 105.0
    idle = threading.Thread(target=stop.wait, args=(1.0,), daemon=True)
    idle.start()
    idle.join(0.2)

    # Assert
    assert (waited_busy, waited_after) == (False, False)
    assert idle.is_alive()
    stop.set()
    idle.join(30.0)
    assert not idle.is_alive()
