"""Box and five clicks, by the rules of the CVPR 2025 challenge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from agent.case import Case
from agent.errors import SegmenterFailed
from agent.fakes import ArraySlices, FakeSegmenter, FakeVolumePrompter, FakeVolumeSegmenter
from agent.ports import Encoding, Segmenter, Slices
from agent.values import (
    Prompts,
    Segmentation,
    TargetStatus,
    VolumePrompts,
    VolumeSegmentation,
    VoxelBox,
    VoxelPoint,
)
from models.evaluation.methods.answers import MethodAnswer, PreparedCase
from models.evaluation.methods.interactive import (
    CLICKS,
    Interactive,
    area_under,
    box_of,
    judged,
    next_click,
    prompted,
)
from models.loaded_models import LoadedModels

SHAPE = (6, 12, 12)


def block(*spans: tuple[int, int], shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def click(mask: np.ndarray, truth: np.ndarray) -> VoxelPoint | None:
    return next_click(mask, truth, np.random.default_rng(0))


def test_a_perfect_method_has_an_area_of_four() -> None:
    assert area_under([1.0] * 5) == 4.0
    assert area_under([0.0, 0.5, 1.0, 1.0, 1.0]) == pytest.approx(0.25 + 0.75 + 1 + 1)


def test_a_miss_is_clicked_in_its_middle_and_an_excess_too() -> None:
    truth = block((1, 4), (2, 9), (2, 9))
    point = click(np.zeros(SHAPE, bool), truth)
    assert point is not None
    assert (point.z, point.positive) == (2, True)
    assert {point.y, point.x} <= {3.0, 4.0, 5.0, 6.0, 7.0}  # all are 2 voxels from the edge along z
    excess = click(truth | block((4, 6), (0, 12), (0, 12)), truth)
    assert excess is not None
    assert not excess.positive
    assert excess.z in (4, 5)


def test_misses_and_excesses_that_touch_are_one_part() -> None:
    truth, mask = block((2, 3), (0, 3), (0, 3)), block((2, 3), (3, 6), (3, 6))  # by a corner
    far = block((5, 6), (8, 12), (8, 11))  # 12 voxels, more than 9 but less than 18
    point = click(mask, truth | far)
    assert point is not None
    assert point.z == 2


def test_a_voxel_at_the_border_is_clicked() -> None:
    point = click(np.zeros(SHAPE, bool), block((0, 1), (0, 1), (11, 12)))
    assert point == VoxelPoint(0, 0.0, 11.0, True)


def test_a_single_slice_is_clicked_in_its_plane() -> None:
    truth = block((0, 1), (2, 9), (3, 10), shape=(1, 12, 12))
    assert click(np.zeros_like(truth), truth) == VoxelPoint(0, 5.0, 6.0, True)


def test_nothing_wrong_is_no_click() -> None:
    truth = block((1, 3), (1, 3), (1, 3))
    assert click(truth, truth) is None


def test_the_box_is_tight() -> None:
    assert box_of(block((1, 3), (2, 5), (4, 9))) == VoxelBox(1, 2.0, 4.0, 2, 4.0, 8.0)


def test_surfaces_of_a_poor_overlap_count_nothing() -> None:
    truth = block((0, 6), (0, 10), (0, 10))
    poor = block((0, 6), (0, 1), (0, 10))  # Dice 0.18, and its surface near the truth's
    clicks = judged([poor, truth], truth, (1.0, 1.0, 1.0))
    assert clicks.dice[0] == pytest.approx(2 / 11)
    assert clicks.nsd == (0.0, 1.0)
    assert judged([poor], truth, None).nsd is None


def answer_of(
    case: Case, segmenter: Segmenter, clock: Callable[[], float] = time.perf_counter
) -> MethodAnswer:
    models = LoadedModels(None, segmenter)  # type: ignore[arg-type]  # no planner is asked
    method = Interactive(segmenter, clock=clock)
    return next(method.answers(PreparedCase.of(case, models), method.targets(case)))


@pytest.mark.parametrize(
    "segmenter", [FakeSegmenter(), FakeVolumeSegmenter(), FakeVolumePrompter()]
)
def test_a_box_and_five_clicks_of_a_volume(segmenter: Segmenter, volume_case: Case) -> None:
    answer = answer_of(volume_case, segmenter)
    assert answer.status is TargetStatus.SEGMENTED
    assert answer.clicks is not None
    assert answer.clicks.box
    assert len(answer.clicks.dice) == len(answer.clicks.nsd or ()) == 1 + CLICKS
    assert answer.clicks.dice[-1] > 0.8
    truth = volume_case.truths[0].voxels
    assert answer.mask is not None
    dice = 2 * (answer.mask & truth).sum() / (answer.mask.sum() + truth.sum())
    assert dice == pytest.approx(answer.clicks.dice[-1])


def test_a_slice_is_a_volume_of_one(whole_case: Case) -> None:
    answer = answer_of(whole_case, FakeSegmenter())
    assert answer.clicks is not None
    assert answer.clicks.dice[0] > 0.9


class FailsAt(FakeSegmenter):
    """Fails from its `at`-th question on."""

    def __init__(self, at: int) -> None:
        self._at, self._number = at, count(1)

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        if next(self._number) >= self._at:
            raise SegmenterFailed("no answer")
        return super().segment(encoding, prompts)


def test_a_failed_prediction_is_an_empty_mask_and_named(whole_case: Case) -> None:
    answer = answer_of(whole_case, FailsAt(3))
    assert answer.status is TargetStatus.FAILED
    assert "no answer" in answer.reason
    assert answer.clicks is not None
    assert [value > 0 for value in answer.clicks.dice] == [True, True, False, False, False, False]


def test_too_slow_counts_nothing(whole_case: Case) -> None:
    ticks = iter([0.0, 91.0])
    answer = answer_of(whole_case, FakeSegmenter(), clock=lambda: next(ticks))
    assert answer.clicks is not None
    assert set(answer.clicks.dice) == {0.0}
    assert answer.reason == "it took 91 s, the challenge allows 90"


def test_a_click_changes_its_slice_and_what_is_followed_from_it() -> None:
    image = np.zeros((3, 20, 20), np.float32)
    image[:, 4:12, 4:12] = 0.8
    predict = prompted(ArraySlices(image, FakeVolumeSegmenter()), FakeVolumeSegmenter())
    boxed = predict(VoxelBox(0, 3, 3, 2, 12, 12))
    assert [bool(slice_.any()) for slice_ in boxed] == [True] * 3
    clicked = predict(VoxelPoint(2, 15.0, 15.0, True))
    assert clicked[2, 15, 15]
    assert not boxed[2, 15, 15]
    assert np.array_equal(clicked[1], boxed[1])


def test_a_mask_of_another_shape_is_refused() -> None:
    class Small(FakeVolumePrompter):
        def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
            whole = super().segment_volume(slices, prompts)
            return replace(whole, mask=whole.mask[:1])

    predict = prompted(ArraySlices(np.ones((3, 20, 20), np.float32), Small()), Small())
    with pytest.raises(SegmenterFailed, match=r"\(1, 20, 20\)"):
        predict(VoxelBox(0, 3, 3, 2, 12, 12))
