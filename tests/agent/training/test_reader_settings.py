"""A reader's settings refuse what means nothing."""

from __future__ import annotations

from typing import Any

import pytest

from agent.training.reader_settings import ReaderSettings, TrajectoryKind


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"least_gain": -0.1}, "least_gain is a share"),
        ({"least_final_iou": 1.5}, "least_final_iou is a share"),
        ({"absent_chance": float("nan")}, "absent_chance is a share"),
        ({"retries": 0}, "at least 1"),
        ({"loose": 0.5}, "at least 1"),
        ({"jitter_px": (9.0, 5.0)}, "jitter_px is"),
        ({"mix": {}}, "mix gives shares"),
        ({"mix": {TrajectoryKind.ABSENT: 1.0}}, "mix gives shares"),  # the truth decides that
        ({"mix": {TrajectoryKind.MIXED: 2.0, TrajectoryKind.BOX_TO_POINT: -1.0}}, "below 0"),
    ],
)
def test_a_figure_out_of_bounds_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ReaderSettings(**wrong)


def test_the_papers_figures_are_the_defaults() -> None:
    settings = ReaderSettings()

    assert (settings.jitter_px, settings.jitter_side_px) == ((5.0, 20.0), 512)
    assert 0.01 <= settings.least_gain <= 0.02
    assert settings.retries == 5
