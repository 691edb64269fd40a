"""Lists page by page, in the order in which things came, by an index and not by reading all."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from server.record.views import Page
from server.values import RequestState
from tests.server.conftest import Desk

STUDY = "1.2.826.0.1.3680043.8.498.1"


def test_pages_of_requests_go_on_where_the_last_one_ended(desk: Desk) -> None:
    ids = [desk.request("liver") for _ in range(5)]

    first = desk.record.requests(Page(limit=2))
    second = desk.record.requests(Page(limit=2, after=first[-1].number))
    newest = desk.record.requests(Page(limit=2, newest=True))
    older = desk.record.requests(Page(limit=9, after=newest[-1].number, newest=True))

    assert [[one.id for one in page] for page in (first, second, newest, older)] == [
        ids[:2],
        ids[2:4],
        ids[:2:-1],
        ids[2::-1],
    ]


def test_a_page_is_of_one_state_and_one_study(desk: Desk) -> None:
    ids = [desk.request("liver") for _ in range(4)]
    for each in ids[:3]:
        desk.record.cancel(each, actor="jo")

    page = Page(limit=2)
    first = desk.record.requests(page, state=RequestState.CANCELLED, study_instance_uid=STUDY)
    rest = desk.record.requests(
        Page(after=first[-1].number), state=RequestState.CANCELLED, study_instance_uid=STUDY
    )

    assert [one.id for one in (*first, *rest)] == ids[:3]
    assert desk.record.requests(study_instance_uid="1.2.3") == ()
    assert desk.record.requests(study_instance_uid="1.2\0.3") == ()


def test_studies_come_in_the_order_in_which_they_were_heard_of(desk: Desk) -> None:
    # Arrange: whatever their names, and also where the clock went back in between
    names = [f"1.2.{n}" for n in (9, 3, 5)]
    for name in names:
        desk.held.put(1, study=name)
        desk.record.complete(name, actor="test")
    with desk.sessions.begin() as session:
        session.execute(
            text("UPDATE studies SET created_at = now() - interval '1 day' WHERE version = 1")
        )

    first = desk.record.studies(Page(limit=2))
    rest = desk.record.studies(Page(after=first[-1].number))

    assert [one.study_instance_uid for one in (*first, *rest)] == names


def test_studies_are_told_with_date_accession_number_and_latest_requests(desk: Desk) -> None:
    # Arrange
    attributes = {"StudyDate": "20260131", "AccessionNumber": "A 17"}
    desk.held.put(1, attributes=attributes)
    desk.record.complete(STUDY, actor="test")
    desk.held.put(1, study="1.2.9")
    desk.record.complete("1.2.9", actor="test")
    ids = [desk.record.submit(STUDY, ["liver"], actor="test").id for _ in range(12)]

    # Act
    study, other = desk.record.studies()

    # Assert
    assert (study.study_date, study.accession_number) == ("20260131", "A 17")
    assert [one.id for one in study.latest_requests] == ids[:1:-1]
    assert {one.state for one in study.latest_requests} == {RequestState.QUEUED}
    assert (other.study_date, other.accession_number, other.latest_requests) == ("", "", ())
    assert desk.record.study(STUDY).summary == study


LISTED = [
    lambda record: record.requests(),
    lambda record: record.requests(Page(after=10_000)),
    lambda record: record.requests(Page(newest=True), state=RequestState.FAILED),
    lambda record: record.requests(study_instance_uid="1.2.77"),
    lambda record: record.studies(Page(after=1500)),
    lambda record: record.studies(unrouted=True),
]
MOST_READ = 50 * (1 + 1 + 2 + 10)
"""A page's rows; of a study one image, itself twice more, and its latest requests."""


@pytest.fixture
def full(desk: Desk) -> Desk:
    """A record with 2,000 studies, 20,000 requests and 40,000 instances."""
    with desk.sessions.begin() as session:
        for statement in (STUDIES, INSTANCES, REQUESTS, "ANALYZE"):
            session.execute(text(statement))
    return desk


@pytest.mark.parametrize("listed", LISTED)
def test_no_list_reads_everything(full: Desk, listed: Any) -> None:
    def rows_read() -> int:
        with full.sessions.engine.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        ) as connection:
            connection.execute(text("SELECT pg_stat_clear_snapshot()"))
            return int(connection.scalar(text(ROWS_READ)) or 0)

    full.sessions.engine.dispose()  # statistics are told when a connection ends
    before = rows_read()

    assert len(listed(full.record)) > 0

    full.sessions.engine.dispose()
    # targets or series are not asked for
    assert rows_read() - before <= MOST_READ


STUDIES = """
INSERT INTO studies (study_instance_uid, state, version, instances, series, requests, files, unrouted_reason, created_at, updated_at)
SELECT '1.2.' || n, 'COMPLETE', 1, 20, 1, 10, 20, CASE WHEN n % 400 = 0 THEN 'none' END, now(), now() FROM generate_series(1, 2000) AS n
"""
INSTANCES = """
INSERT INTO instances (study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid,
    path, modality, series_description, number_of_frames, manufacturer, attributes, faults, ours, version, indexed_at)
SELECT '1.2.' || n, '1.2.3.' || n, '1.2.4.' || n || '.' || i, '', '', '', 'CT', '', 1, '', '{}', '[]', false, 1, now()
FROM generate_series(1, 2000) AS n, generate_series(1, 20) AS i
"""
REQUESTS = """
INSERT INTO requests (id, study_instance_uid, study_version, state, actor, priority, run, pipeline_version,
    stage_attempts, warnings, stage_seconds, encoder_passes, hold_doubtful, forced, created_at, updated_at)
SELECT n::text, '1.2.' || 1 + n % 2000, 1, CASE WHEN n % 1000 = 0 THEN 'FAILED' ELSE 'DONE' END, '', 50, 1, 1,
    1, '[]', '{}', 0, false, false, now(), now() FROM generate_series(1, 20000) AS n
"""
ROWS_READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables
WHERE relname IN ('studies', 'instances', 'requests')
"""
