"""What is said of a target on the terminal."""

from __future__ import annotations

import pytest

from agent.values import TargetStatus
from server.commands.request import delivery_line
from server.commands.segment import say_reasons, target_rows
from server.values import TargetSummary


def test_a_volume_is_told_in_whole_millilitres_without_a_certainty() -> None:
    liver = TargetSummary(
        0, "liver", "liver", TargetStatus.SEGMENTED, "", 1523.187, 7, 0.9132, ("cut off",)
    )
    spleen = TargetSummary(1, "spleen", "spleen", TargetStatus.UNCERTAIN, "thin", None, 2, None)

    assert target_rows([liver, spleen]) == [
        ("liver", "segmented", "1523", "7"),
        ("spleen", "uncertain", "", "2"),
    ]


def test_reasons_and_doubts_are_printed_each_in_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_reasons([("liver", ("", "cut off", "only 45%")), ("spleen", ("thin",))])

    assert capsys.readouterr().out == "liver: cut off\nliver: only 45%\nspleen: thin\n"


@pytest.mark.parametrize(
    ("delivery", "line"),
    [
        ({"state": "pending"}, "pacs: pending"),
        ({"state": "delivered", "last_error": "was away"}, "pacs: delivered"),
        ({"state": "dead", "last_error": "out of\nroom"}, "pacs: dead, out of room"),
        (
            {"state": "retrying", "last_error": "away", "next_try_at": "2026-12-01T03:00:00Z"},
            "pacs: retrying, away (next try 2026-12-01T03:00:00Z)",
        ),
    ],
)
def test_a_failed_delivery_says_why_and_when_it_is_tried_again(
    delivery: dict[str, str], line: str
) -> None:
    assert delivery_line({"destination": "pacs", **delivery}) == line
