"""The trace says through which window a target was looked at, and older traces without one stay
readable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.fakes import ArraySlices, Band, FakeSegmenter, ThresholdPolicy
from agent.ports import Slices
from agent.trace import Trace, trace_from_record, trace_record
from agent.values import Target
from agent.volume.order import segment_target


def finished(slices: Slices, text: str) -> Any:
    """The result of a target on these slices."""
    steps = segment_target(
        Target(text), slices, ThresholdPolicy({"ball": Band(0.7, 0.9)}), FakeSegmenter()
    )
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


@pytest.fixture
def volume() -> NDArray[np.float32]:
    """Three slices with a bright square."""
    intensities = np.full((3, 32, 32), 0.2, dtype=np.float32)
    intensities[:, 10:20, 12:22] = 0.8
    return intensities


@pytest.mark.parametrize("text", ["ball", "unknown"])
def test_the_window_is_told_for_what_was_drawn_and_what_was_not(
    volume: NDArray[np.float32], text: str
) -> None:
    # Arrange
    slices = ArraySlices(volume, FakeSegmenter(), window="lung -1350..150 HU")

    # Act
    record = trace_record(Trace.of([finished(slices, text)]))

    # Assert
    assert record["targets"][0]["window"] == "lung -1350..150 HU"
    assert trace_from_record(record).targets[0].window == "lung -1350..150 HU"


def test_a_trace_without_a_window_stays_readable(volume: NDArray[np.float32]) -> None:
    record = trace_record(Trace.of([finished(ArraySlices(volume, FakeSegmenter()), "ball")]))

    assert "window" not in record["targets"][0]
    assert trace_from_record(record).targets[0].window == ""
