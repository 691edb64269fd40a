"""What the command line shows of a running node's requests, over the real API."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agent.values import TargetStatus
from server.cli import main
from server.http.fakes import START, FakeRecord
from server.record.views import TurnView
from server.values import DeliveryState, RequestState

Capture = pytest.CaptureFixture[str]


def failed(record: FakeRecord, request_id: str) -> None:
    """Let a request fail as one does whose archive is away."""
    view = record.kept_requests[request_id]
    record.kept_requests[request_id] = replace(
        view,
        state=RequestState.FAILED,
        error="the PACS did not take it",
        targets=tuple(
            replace(target, status=TargetStatus.SEGMENTED, volume_ml=412.5)
            for target in view.targets
        ),
        deliveries=tuple(
            replace(delivery, state=DeliveryState.DEAD, attempts=8, last_error="refused")
            for delivery in view.deliveries
        ),
    )


def listed(capsys: Capture) -> list[str]:
    """The requests in the table that was printed, from above."""
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["request-3", "request-2", "request-1"]),
        (["--last", "2"], ["request-3", "request-2"]),
        (["--study", "1.2.3"], ["request-2", "request-1"]),
        (["--state", "queued", "--last", "1"], ["request-3"]),
    ],
)
def test_requests_are_listed_newest_first(
    capsys: Capture, options: list[str], expected: list[str]
) -> None:
    assert main(["requests", *options]) == 0
    assert listed(capsys) == expected


@pytest.mark.usefixtures("record")
def test_no_request_of_a_state_is_said(capsys: Capture) -> None:
    assert main(["requests", "--state", "DONE"]) == 0
    assert capsys.readouterr().out == "no such request\n"


@pytest.mark.usefixtures("record")
def test_a_script_reads_the_nodes_own_json(capsys: Capture) -> None:
    assert main(["requests", "--json", "--last", "1"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["id"], told["state"]) == ("request-3", "QUEUED")


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_wrong_number_is_refused_before_the_node_is_asked(capsys: Capture, number: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["requests", f"--last={number}"])

    assert ended.value.code == 2
    assert "is no number of requests" in capsys.readouterr().err


def test_a_request_is_shown_whole(capsys: Capture, record: FakeRecord) -> None:
    failed(record, "request-1")

    assert main(["show", "request-1"]) == 0

    out = capsys.readouterr().out
    assert "state     FAILED, since 2026-01-01 00:00:00\n" in out
    assert "error     the PACS did not take it\n" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["liver", "segmented", "412", "0"] in rows
    assert ["pacs", "dead", "8", "refused"] in rows


def test_a_request_is_cancelled_and_tried_again(capsys: Capture, record: FakeRecord) -> None:
    failed(record, "request-2")

    assert main(["cancel", "request-1"]) == 0
    assert main(["retry", "request-2"]) == 0

    out = capsys.readouterr().out
    assert out == "request request-1 is CANCELLED\nrequest request-2 is QUEUED\n"


def test_what_a_cancelled_request_sends_no_more_is_shown(
    capsys: Capture, record: FakeRecord
) -> None:
    main(["cancel", "request-1"])
    capsys.readouterr()

    assert main(["show", "request-1"]) == 0

    assert ["pacs", "withdrawn", "0"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


def test_results_that_are_held_back_are_released(capsys: Capture, record: FakeRecord) -> None:
    held_back(record, "request-1")

    assert main(["release", "request-1"]) == 0
    assert record.kept_requests["request-1"].deliveries[0].state == DeliveryState.PENDING
    assert main(["release", "request-1"]) == 1

    shown = capsys.readouterr()
    assert shown.out == "request request-1 is SENDING\n"
    assert "nothing of this request is held back" in shown.err


def held_back(record: FakeRecord, request_id: str) -> None:
    view = record.kept_requests[request_id]
    deliveries = tuple(replace(each, state=DeliveryState.HELD) for each in view.deliveries)
    record.kept_requests[request_id] = replace(
        view, state=RequestState.SENDING, deliveries=deliveries
    )


def test_turns_are_listed_by_target(capsys: Capture, record: FakeRecord) -> None:
    turn = {"role": "segment", "action": {"kind": "box"}, "outcome": "drawn", "score": 0.914}
    record.kept_turns["request-1"] = (TurnView(0, 41, 0, turn, START),)

    assert main(["turns", "request-1"]) == 0

    assert capsys.readouterr().out.splitlines()[2].split() == [
        *("0", "liver", "41", "0", "segment", "box", "drawn", "0.91"),
    ]


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize("command", ["show", "cancel", "retry", "turns"])
@pytest.mark.parametrize("unknown", ["request-9", "../studies", "request-1/turns", "", "?"])
def test_an_unknown_request_is_a_sentence(capsys: Capture, command: str, unknown: str) -> None:
    assert main([command, unknown]) == 1
    assert f"there is no request {unknown!r}" in capsys.readouterr().err
