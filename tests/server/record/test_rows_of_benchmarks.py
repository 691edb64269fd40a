"""The rows that benchmarks fill a record with fit its tables: no other test runs a benchmark."""

from __future__ import annotations

from typing import Any

from server.record import lists
from server.record.views import FIRST_PAGE
from tests.benchmarks import bench_record


def test_a_record_that_is_filled_by_hand_is_read_as_any_other(desk: Any) -> None:
    bench_record.fill(desk.sessions, 3)

    with desk.sessions.begin() as session:
        requests = lists.requests(session, FIRST_PAGE, None, None)
        studies = lists.studies(session, FIRST_PAGE)
    assert [request.id for request in requests] == ["request-1", "request-2", "request-3"]
    assert [study.study_instance_uid for study in studies] == [
        bench_record.uid(n) for n in (1, 2, 3)
    ]
