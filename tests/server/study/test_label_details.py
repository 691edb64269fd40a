"""What a side-car says of a target: its codes, its colour and how it ended."""

from __future__ import annotations

from agent.values import TargetStatus
from server.rules.catalogue import load_catalogue
from server.study.label_details import label_details
from server.values import TargetSummary


def test_a_sides_code_is_said() -> None:
    catalogue = load_catalogue()
    (target,) = catalogue.targets("left kidney")
    summary = TargetSummary(
        0, "left kidney", target.structure, TargetStatus.ABSENT, "no slice shows it", None, 0, 0.9
    )

    named = label_details(target, summary, catalogue)

    assert named.text == "left kidney"
    assert all(0 <= channel <= 255 for channel in named.rgb)
    assert named.details["type"] == {
        "CodeValue": "64033007",
        "CodingSchemeDesignator": "SCT",
        "CodeMeaning": "Kidney",
    }
    modifier = named.details["type_modifier"]
    assert isinstance(modifier, dict)
    assert modifier["CodeMeaning"] == "Left"
    assert (named.details["status"], named.details["confidence"]) == ("absent", 0.9)
    assert named.details["reason"] == "no slice shows it"
