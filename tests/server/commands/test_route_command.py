"""`segnode route STUDY_UID`: a running node applies its routes, over the real API."""

from __future__ import annotations

import json

import pytest

from server.cli import main
from server.http.fakes import FakeRecord
from server.record.views import AppliedRoute, StudyRouting, Submitted
from server.rules.explained import ConditionExplained
from server.values import RequestState

STUDY = "1.2.3"
CT = ConditionExplained("Modality", "CT", True, ("CT",))
MR = ConditionExplained("Modality", "MR", False, ("CT", "SR"))
Capture = pytest.CaptureFixture[str]


def answers(record: FakeRecord, *routes: AppliedRoute, reason: str | None = None) -> None:
    """Let the node answer so for the study."""
    record.routings[STUDY] = StudyRouting(STUDY, 1, routes, reason)


def test_what_was_made_and_what_stood_before_are_told_apart(
    capsys: Capture, record: FakeRecord
) -> None:
    made = Submitted("new-1", RequestState.QUEUED)
    before = Submitted("old-1", RequestState.FAILED)
    answers(
        record,
        AppliedRoute("abdomen", True, (CT,), None, made, True),
        AppliedRoute("again", True, (CT,), None, before, False),
        AppliedRoute("head", False, (MR,), "no instance has Modality = 'MR'", None, False),
    )

    assert main(["route", STUDY]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "route abdomen: matches",
        "  yes  Modality = 'CT': the study has 'CT'",
        "  request new-1 is QUEUED",
        "route again: matches",
        "  yes  Modality = 'CT': the study has 'CT'",
        "  the same was asked before: request old-1 is FAILED; `segnode retry old-1`",
        "route head: does not match",
        "  NO   Modality = 'MR': the study has 'CT', 'SR'",
        "the routes were applied: 1 request made",
    ]
    assert record.trail[-1].event == "study.routed"
    assert record.trail[-1].actor.startswith("token ")


def test_why_nothing_was_made_is_said(capsys: Capture, record: FakeRecord) -> None:
    why = "no route of the 1 configured matches: head (no instance has Modality = 'MR')"
    answers(record, AppliedRoute("head", False, (MR,), "…", None, False), reason=why)

    assert main(["route", STUDY]) == 0

    assert capsys.readouterr().out.splitlines()[-1] == f"{why}: 0 requests made"


@pytest.mark.usefixtures("record")
def test_a_script_reads_the_nodes_own_answer(capsys: Capture) -> None:
    assert main(["route", "4.5.6", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["routes"], told["unrouted_reason"]) == ([], "no routes are configured")


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize("study", ["9.9", "../requests/request-1/cancel?", "1.2.3/complete"])
def test_a_study_that_is_not_there_is_a_sentence(capsys: Capture, study: str) -> None:
    assert main(["route", study]) == 1
    assert capsys.readouterr().err.startswith("segnode: ")


@pytest.mark.parametrize("words", [[], ["1.2.3", "--explain", "1.2.3"]])
def test_either_a_study_or_an_explanation_is_asked_for(capsys: Capture, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["route", *words])

    assert ended.value.code == 2
    assert "--explain" in capsys.readouterr().err


def test_json_is_of_the_node_alone(capsys: Capture) -> None:
    assert main(["route", "--explain", "1.2.3", "--json"]) == 1
    assert "goes with STUDY_UID" in capsys.readouterr().err
