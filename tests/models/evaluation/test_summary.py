"""results.json: every figure reckoned by hand from a few lines."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agent.values import TargetStatus
from models.evaluation.metrics import Quality
from models.evaluation.records import Clicks, TargetRecord
from models.evaluation.summary import by_step, summarise


def record(
    case: str, patient: str, dice: float, *, present: bool = True, **more: Any
) -> TargetRecord:
    base = TargetRecord(
        case_id=case,
        patient=patient,
        dataset="toy",
        split="test",
        modality="CT",
        depth=1,
        target="left kidney",
        structure="left_kidney",
        method="ours",
        present=present,
        truth_digest="",
        status=TargetStatus.SEGMENTED,
        answered=True,
        quality=Quality(dice, dice / 2, dice, 2.0, None, 0.25 if present else None),
        tolerance_mm=3.0,
        confidence=0.75,
        turns=2,
        by_turn=(dice / 2, dice),
        seconds=1.0,
        input_tokens=30,
    )
    return replace(base, **more)


ABSENT: dict[str, Any] = {"present": False, "status": TargetStatus.ABSENT, "answered": False}
RECORDS = [
    record("a", "p1", 0.8),
    record("b", "p1", 0.6, turns=4),
    record("c", "p2", 0.0, status=TargetStatus.FAILED, answered=False, reason="why", by_turn=()),
    record("d", "p2", 1.0, **ABSENT),
    record("e", "p2", 0.0, present=False),
]


def figures() -> dict[str, Any]:
    return summarise(RECORDS)["methods"]["ours"]["all"]


def test_dice_is_over_what_is_there_and_failures_count_0() -> None:
    dice = figures()["dice"]
    assert dice["mean"] == pytest.approx(1.4 / 3)
    assert dice["targets"] == 3
    assert dice["patient_mean"] == pytest.approx((0.7 + 0.0) / 2)
    assert (dice["low"], dice["high"], dice["patients"]) == (0.0, pytest.approx(0.7), 2)


def test_the_score_is_over_all() -> None:
    assert figures()["score"]["mean"] == pytest.approx((0.8 + 0.6 + 0 + 1 + 0) / 5)


def test_presence_is_told_apart_from_overlap() -> None:
    presence = figures()["presence"]
    assert (presence["sensitivity"], presence["specificity"]) == (2 / 3, 1 / 2)
    assert presence["f1"] == pytest.approx(4 / (4 + 1 + 1))
    assert figures()["absent_answered"]["mean"] == 0.5


def test_turns_seconds_and_tokens() -> None:
    assert figures()["turns_histogram"] == {"2": 4, "4": 1}
    assert figures()["turns"]["mean"] == pytest.approx(12 / 5)
    assert figures()["seconds"]["mean"] == 1.0
    assert figures()["input_tokens"]["mean"] == 30


def test_quality_by_turn_has_failures_as_0() -> None:
    first, second = figures()["by_turn"]
    assert first["mean"] == pytest.approx((0.4 + 0.3) / 3)
    assert second["mean"] == pytest.approx(1.4 / 3)
    assert second["high"] == pytest.approx(0.7)


def test_curves_that_ended_keep_their_last_value() -> None:
    rows = by_step([[0.5], [0.2, 0.4, 0.6], []], ["a", "b", "c"])
    assert [row["mean"] for row in rows] == pytest.approx([0.7 / 3, 0.9 / 3, 1.1 / 3])
    assert by_step([], []) == []


def test_calibration_is_against_the_score() -> None:
    calibration = figures()["calibration"]
    assert calibration["ece"] == pytest.approx(0.75 - 2.4 / 5)  # all in one bin
    without = [replace(r, confidence=None) for r in RECORDS]
    assert summarise(without)["methods"]["ours"]["all"]["calibration"] is None


def test_failures_and_faults_are_named() -> None:
    odd = replace(RECORDS[0], case_id="z", faults=("its confidence is nan",))
    results = summarise([*RECORDS, odd])
    (failure,) = results["failures"]
    assert (failure["case"], failure["target"], failure["reason"]) == ("c", "left kidney", "why")
    assert results["faults"][0]["reason"] == "its confidence is nan"
    assert results["counts"] == {"patients": 2, "cases": 6, "targets": 6, "present": 4}


def test_groups_have_their_own_figures() -> None:
    liver = record("a", "p1", 0.9, target="liver", structure="liver", modality="MR")
    method = summarise([*RECORDS, liver])["methods"]["ours"]
    assert method["by_structure"]["liver"]["dice"]["mean"] == 0.9
    assert method["by_modality"]["CT"]["present"] == 3
    assert method["by_patient"]["p1"]["dice"]["mean"] == pytest.approx(2.3 / 3)


def test_noc_counts_objects_and_those_that_never_reach() -> None:
    clicked = [
        record("a", "p1", 0.9, method="c", clicks=Clicks((), (0.5, 0.82, 0.86, 0.91)), seconds=8.0),
        record("b", "p1", 0.9, method="c", clicks=Clicks((), (0.5,) * 20), seconds=16.0),
        record("c", "p1", 0.0, method="c", status=TargetStatus.FAILED),
    ]
    noc = summarise(clicked)["methods"]["c"]["all"]["noc"]
    assert noc["objects"] == 3
    assert noc["goals"]["80"] == {
        "mean": pytest.approx((2 + 20 + 20) / 3),
        "sd": pytest.approx(8.485, abs=1e-3),
        "at_least_20": 2,
    }
    assert noc["goals"]["90"]["mean"] == pytest.approx((4 + 20 + 20) / 3)
    assert noc["seconds_a_click"] == 1.0


def test_the_challenges_areas_leave_the_box_out() -> None:
    dice, nsd = (0.9, 0.0, 0.5, 1.0, 1.0, 1.0), (0.9, 0.0, 1.0, 1.0, 1.0, 0.8)
    lines = [record("a", "p1", 1.0, clicks=Clicks(dice, dice, nsd, box=True))]
    result = summarise(lines)["methods"]["ours"]["all"]
    assert result["dsc_auc"]["mean"] == pytest.approx(0.25 + 0.75 + 1 + 1)
    assert result["nsd_auc"]["mean"] == pytest.approx(0.5 + 1 + 1 + 0.9)
    assert (result["final_dsc"]["mean"], result["final_nsd"]["mean"]) == (1.0, 0.8)
    assert result["noc"] is None


def test_figures_that_nobody_has_are_none() -> None:
    bare = [replace(r, quality=None, clicks=None) for r in RECORDS]
    result = summarise(bare)["methods"]["ours"]["all"]
    assert result["dice"] is None
    assert result["dsc_auc"] is None
    assert result["noc"] is None
    json.dumps(summarise(RECORDS), allow_nan=False)
