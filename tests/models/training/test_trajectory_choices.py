"""Choices that mean nothing are refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.training.trajectory_choices import TrajectoryChoices


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"per_case": 0}, "one trajectory or more, not 0"),
        ({"shard": 2, "shards": 2}, "there is no 2 of 2"),
        ({"shard": -1}, "there is no -1 of 1"),
    ],
)
def test_figures_out_of_bounds(wrong: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TrajectoryChoices(Path("data"), Path("out"), **wrong)  # type: ignore[arg-type] # ints alone


def test_training_patients_are_the_default() -> None:
    assert TrajectoryChoices(Path("data"), Path("out")).split == "training"
