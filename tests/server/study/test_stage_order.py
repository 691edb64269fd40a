"""The order of a study's stages, on stages that take no time."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from agent.values import Target
from dicom_node.errors import NotAVolume
from server.fakes import FakeStages
from server.study.stage_order import StudyRun, StudyWork, run_study
from server.values import Assignment

WHOLE = ["select", "outline 0", "outline 1", "follow", "segment 0", "segment 1", "write"]


def stages_of(points: list[str]) -> list[str]:
    """The beginnings of stages among the points that FakeStages comes by."""
    return [point for point in points if point in WHOLE]


def test_a_study_goes_through_its_stages_in_order(tmp_path: Path) -> None:
    points: list[str] = []
    assignment = Assignment("r", "1.2", 1, None, (Target("liver"), Target("absent")))
    turns: list[int] = []
    study = StudyRun(FakeStages(tmp_path, points.append), assignment, lambda i, _: turns.append(i))

    study.run()

    assert stages_of(points) == WHOLE
    assert [summary.status for summary in study.summaries] == ["segmented", "absent"]
    assert [result.kind for result in study.results] == ["SEG", "SR"]
    assert turns == [0, 0, 1, 1]


def test_what_a_stage_raises_ends_the_study_there(tmp_path: Path) -> None:
    points: list[str] = []
    assignment = Assignment("r", "1.2", 1, None, (Target("no volume"),))
    study = StudyRun(FakeStages(tmp_path, points.append), assignment, lambda index, turn: None)

    with pytest.raises(NotAVolume):
        study.run()

    assert stages_of(points) == ["select"]


class Ended:
    """A study that has ended before it was begun."""

    def select(self) -> int | None:
        return None

    def __getattr__(self, name: str) -> None:
        raise AssertionError(f"{name} must not be asked for")


def test_nothing_comes_after_a_study_that_has_ended() -> None:
    assert not run_study(cast("StudyWork", Ended()))
