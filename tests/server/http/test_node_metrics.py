"""Metrics count what the record holds, in the text format, also while it is away."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from server.http.fakes import FakeRecord
from server.values import DeliveryState, RequestState, StudyState
from tests.support.http.away import AWAY, BOTH_PLACES


def samples(text: str) -> dict[str, int]:
    """Name with labels -> value, of every line that is no comment."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}


@BOTH_PLACES
def test_metrics_count_what_the_record_holds(
    api: TestClient, stranger: TestClient, record: FakeRecord, study: str, at: str
) -> None:
    # Arrange: two requests, one of them cancelled, and a study that is arriving
    body = {"study_instance_uid": study, "targets": ["liver"]}
    first = api.post("/api/v1/requests", json=body).json()["id"]
    api.post("/api/v1/requests", json=body)
    api.post(f"/api/v1/requests/{first}/cancel")
    record.add_study("1.2.9", StudyState.RECEIVING)

    # Act
    answer = stranger.get(f"{at}/metrics")

    # Assert
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = samples(answer.text)
    assert told['segnode_requests{state="QUEUED"}'] == 1
    assert told['segnode_requests{state="CANCELLED"}'] == 1
    assert told['segnode_requests{state="DONE"}'] == 0
    assert told['segnode_studies{state="RECEIVING"}'] == 1
    assert told['segnode_deliveries{state="pending"}'] == 1
    assert told['segnode_deliveries{state="withdrawn"}'] == 1
    assert told["segnode_record_up"] == 1
    assert told["segnode_storage_free_bytes"] > 0


def test_every_state_has_its_line_from_the_start(stranger: TestClient) -> None:
    told = samples(stranger.get("/metrics").text)

    for name, states in (
        ("requests", RequestState),
        ("studies", StudyState),
        ("deliveries", DeliveryState),
    ):
        assert {f'segnode_{name}{{state="{state}"}}' for state in states} <= set(told)


def test_metrics_go_on_without_a_database(stranger: TestClient, record: FakeRecord) -> None:
    record.away = AWAY

    told = samples(stranger.get("/metrics").text)

    assert set(told) == {"segnode_storage_free_bytes", "segnode_record_up"}
    assert told["segnode_record_up"] == 0


def test_metrics_keep_to_the_text_format(stranger: TestClient) -> None:
    text = stranger.get("/metrics").text
    line = re.compile(
        r"# (HELP [a-z_]+ .+\.|TYPE [a-z_]+ gauge)|[a-z_]+(\{state=\"[A-Za-z]+\"\})? \d+"
    )

    assert text.endswith("\n")
    assert [each for each in text.splitlines() if not line.fullmatch(each)] == []
