"""Who may write into the database makes the node run nothing: workflows hold JSON, and what holds
anything else is refused.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from server.record.database.jobs import work_named
from server.values import DeliveryState, RequestState
from server.work.takeover import BROKEN
from server.work.worker import Worker
from tests.server.conftest import Desk

BEAT_S = 0.2
"""What broke off is looked for at every third beat, which is a quarter of a minute in a node."""


class MakesFile:
    """What a pickle can do: make a file where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def planted(path: Path) -> str:
    return base64.b64encode(pickle.dumps(MakesFile(path))).decode("ascii")


def change(desk: Any, statement: str, **values: Any) -> None:
    with desk.sessions.begin() as session:
        assert session.execute(text(statement), values).rowcount == 1


def plant_inputs(desk: Any, request_id: str, inputs: str) -> None:
    change(
        desk,
        "UPDATE dbos.workflow_input SET inputs = :inputs WHERE workflow_uuid = :id",
        inputs=inputs,
        id=request_id,
    )


def test_what_is_queued_is_json(desk: Desk) -> None:
    request_id = desk.request()

    with desk.sessions.begin() as session:
        row = session.execute(
            text(
                "SELECT serialization, i.inputs FROM dbos.workflow_status "
                "JOIN dbos.workflow_input i USING (workflow_uuid) WHERE workflow_uuid = :id"
            ),
            {"id": request_id},
        ).one()

    assert row.serialization == "portable_json"
    assert request_id in row.inputs


@pytest.mark.parametrize("written_with", ["py_pickle", "portable_json", "custom", None])
def test_a_pickle_among_the_inputs_is_not_read_and_the_request_fails(
    desk: Desk, start_worker: Callable[..., Worker], tmp_path: Path, written_with: str | None
) -> None:
    # Arrange
    mark = tmp_path / "mark"
    request_id = desk.request()
    plant_inputs(desk, request_id, planted(mark))
    change(
        desk,
        "UPDATE dbos.workflow_status SET serialization = :written WHERE workflow_uuid = :id",
        written=written_with,
        id=request_id,
    )
    next_id = desk.request()

    # Act
    start_worker(beat_s=BEAT_S)

    # Assert: it ends with a sentence, and the next one is worked on
    assert desk.wait_for_end(request_id) == RequestState.FAILED
    assert desk.record.request(request_id).error == BROKEN
    assert desk.wait_for_end(next_id) == RequestState.DONE
    assert not mark.exists()


def test_a_pickle_among_the_steps_results_is_not_read(
    desk: Desk, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    # Arrange: the first step looks as if it had been done
    mark = tmp_path / "mark"
    request_id = desk.request()
    change(
        desk,
        "INSERT INTO dbos.operation_outputs "
        "(workflow_uuid, function_id, function_name, output, serialization) "
        "VALUES (:id, 1, 'select', :output, 'py_pickle')",
        id=request_id,
        output=planted(mark),
    )

    # Act
    start_worker(beat_s=BEAT_S)

    # Assert
    assert desk.wait_for_end(request_id) == RequestState.FAILED
    assert desk.record.request(request_id).error == BROKEN
    assert not mark.exists()


def test_inputs_of_another_kind_end_the_request_too(
    desk: Desk, start_worker: Callable[..., Worker]
) -> None:
    request_id = desk.request()
    strange = '{"positionalArgs": [1, 2, 3, 4], "namedArgs": {"os": "system"}}'
    plant_inputs(desk, request_id, strange)

    start_worker(beat_s=BEAT_S)

    assert desk.wait_for_end(request_id) == RequestState.FAILED


def test_a_deliverys_pickle_ends_the_delivery(
    desk: Desk, start_worker: Callable[..., Worker], tmp_path: Path
) -> None:
    # Arrange: written, and waiting to be sent by nobody
    mark = tmp_path / "mark"
    request_id = desk.request()

    statements = [
        f"CREATE FUNCTION plant_{column}() RETURNS trigger AS $$ BEGIN "
        f"NEW.{column} := '{value}'; RETURN NEW; END $$ LANGUAGE plpgsql; "
        f"CREATE TRIGGER plant BEFORE INSERT ON dbos.{table} "
        f"FOR EACH ROW EXECUTE FUNCTION plant_{column}()"
        for table, column, value in (
            ("workflow_status", "serialization", "py_pickle"),
            ("workflow_input", "inputs", planted(mark)),
        )
    ]

    def plant(point: str) -> None:
        if point == "discard":  # the next step queues the delivery
            with desk.sessions.begin() as session:
                for statement in statements:
                    session.execute(text(statement))

    # Act
    start_worker(stage_hook=plant, beat_s=BEAT_S)

    # Assert
    assert desk.wait_for_end(request_id) == RequestState.FAILED
    [delivery] = desk.record.request(request_id).deliveries
    assert (delivery.state, delivery.last_error) == (DeliveryState.DEAD, BROKEN)
    assert not mark.exists()


def test_what_workflows_are_called_after() -> None:
    assert work_named("a") == ("a", 1, None)
    assert work_named("a:run-3") == ("a", 3, None)
    assert work_named("a:send:pacs:2") == ("a", 1, ("pacs", 2))
    assert work_named("a:run-3:send:the:pacs:2") == ("a", 3, ("the:pacs", 2))
