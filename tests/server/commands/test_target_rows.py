"""What is said of a target on the terminal."""

from __future__ import annotations

import pytest

from agent.values import TargetStatus
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
