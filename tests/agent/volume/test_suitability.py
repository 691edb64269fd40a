"""A policy is asked about what it was made for alone, and says what an image was taken for."""

from __future__ import annotations

import numpy as np
import pytest

from agent.errors import UnknownTarget, UnsuitedImage
from agent.fakes import ArraySlices, FakeSegmenter, ThresholdPolicy
from agent.knowledge import Knowledge
from agent.turns import TargetResult
from agent.values import Target, TargetStatus
from agent.volume.order import run_turns, segment_target
from agent.volume.suitability import require_suited


class CtOnly(ThresholdPolicy):
    """Brightness, on CT alone."""

    @property
    def knowledge(self) -> Knowledge:
        return Knowledge(("bright", "left_kidney"), ("CT",))


def test_an_unknown_target_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnknownTarget, match=r"not know 'tumour'\. It knows: bright, left kidney"):
        require_suited(CtOnly(), Target("tumour"), "CT")


def test_another_modality_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsuitedImage, match=r"made for CT alone, and this is MR.*--modality"):
        require_suited(CtOnly(), Target("bright"), "MR")


@pytest.mark.parametrize("modality", ["", "OT"])
def test_an_image_that_does_not_tell_is_taken_for_one_and_that_is_said(modality: str) -> None:
    remark = require_suited(CtOnly(), Target("bright"), modality)

    assert remark == "the image does not tell its modality: it was taken for CT"


def test_nothing_is_said_of_what_fits() -> None:
    assert require_suited(CtOnly(), Target("bright"), "CT") == ""
    assert require_suited(ThresholdPolicy(), Target("bright"), "MR") == ""


def result_on(modality: str) -> TargetResult:
    """The work of a policy of CT on a bright square."""
    square = np.zeros((3, 32, 32), dtype=np.float32)
    square[:, 8:20, 8:20] = 0.8
    segmenter = FakeSegmenter()
    slices = ArraySlices(square, segmenter, modality=modality)
    steps = segment_target(Target("bright"), slices, CtOnly(), segmenter)
    return run_turns(steps, lambda _: None)


def test_a_target_in_another_modality_fails_before_anything_is_looked_at() -> None:
    result = result_on("MR")

    assert result.status is TargetStatus.FAILED
    assert "made for CT alone, and this is MR" in result.reason
    assert result.turns == ()


def test_a_result_on_an_image_that_does_not_tell_says_what_it_was_taken_for() -> None:
    told, untold = result_on("CT"), result_on("OT")

    assert told.status is untold.status is TargetStatus.SEGMENTED
    assert set(untold.warnings) - set(told.warnings) == {
        "the image does not tell its modality: it was taken for CT"
    }
