"""Curves of a run, from its log to a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from models.training.curves import curve_of, draw_curves, running_mean

HISTORY = [
    {"step": 1, "loss": 3.0},
    {"step": 1, "eval_loss": 3.5},
    {"step": 2, "loss": 2.0},
    {"step": 2, "loss": 2.25},
]


def test_a_curve_has_one_value_a_step() -> None:
    assert curve_of(HISTORY, "loss") == [(1, 3.0), (2, 2.25)]
    assert curve_of(HISTORY, "reward") == []


def test_each_panel_with_points_is_drawn(tmp_path: Path) -> None:
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {
        "loss": {"learnt": [(1, 3.0), (2, 2.0)], "held out": [(1, 3.5)]},
        "reward": {"": []},
        "norm": {"": [(1, 1.0), (2, 0.5)]},
    }

    draw_curves(tmp_path / "two.png", panels)
    draw_curves(tmp_path / "one.png", {"loss": panels["loss"]})

    with Image.open(tmp_path / "two.png") as two, Image.open(tmp_path / "one.png") as one:
        assert two.height == 2 * one.height
        assert len(set(two.convert("L").tobytes())) > 20


def test_a_running_mean_takes_a_tenth_and_fewer_at_the_ends() -> None:
    curve = [(step, float(step % 2)) for step in range(20)]

    means = running_mean(curve)

    assert means[:3] == [(0, 0.5), (1, pytest.approx(1 / 3)), (2, pytest.approx(2 / 3))]
    assert means[-1] == (19, 0.5)
    assert len(means) == 20


def test_a_long_curve_is_drawn_calmer_than_it_is(tmp_path: Path) -> None:
    """Ink at the height of the values themselves: the mean of 0 and 1 runs between them."""

    def dark(name: str, steps: int) -> int:
        curve = [(step, float(step % 2)) for step in range(steps)]
        draw_curves(tmp_path / name, {"reward": {"": curve}})
        with Image.open(tmp_path / name) as drawn:
            red, _, blue = np.moveaxis(np.asarray(drawn.convert("RGB")), -1, 0)
        return int(((red < 80) & (blue > 150)).sum())

    assert dark("long.png", 20) < 0.6 * dark("short.png", 19)


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    draw_curves(tmp_path / "none.png", {"loss": {"": []}})

    assert list(tmp_path.iterdir()) == []
