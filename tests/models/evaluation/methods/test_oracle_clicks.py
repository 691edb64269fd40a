"""Ideal clicks on a slice, counted as RITM counts them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from agent.case import Case
from agent.errors import SegmenterFailed
from agent.fakes import FakeEncoding, FakeSegmenter, segmentation
from agent.ports import Encoding
from agent.values import PromptKind, Prompts, Segmentation, TargetStatus
from models.evaluation.methods.answers import PreparedCase
from models.evaluation.methods.oracle_clicks import (
    MOST_CLICKS,
    OracleClicks,
    click_masks,
    clicks_to,
)
from models.loaded_models import LoadedModels

TRUTH = np.zeros((30, 30), bool)
TRUTH[5:20, 8:24] = True
ENCODING = FakeEncoding(np.zeros((30, 30), np.float32))


class Painter(FakeSegmenter):
    """Gives the masks of a list, whatever is clicked; `asked` keeps the prompts."""

    supported_prompts = frozenset({PromptKind.POINT, PromptKind.MASK})

    def __init__(self, masks: Sequence[np.ndarray]) -> None:
        self._masks, self.asked = list(masks), list[Prompts]()

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        self.asked.append(prompts)
        return segmentation(self._masks[min(len(self.asked), len(self._masks)) - 1])


def rows(count: int) -> np.ndarray:
    """The truth's upper `count` of 15 rows: IoU count / 15."""
    mask = np.zeros_like(TRUTH)
    mask[5 : 5 + count] = TRUTH[5 : 5 + count]
    return mask


def test_clicks_end_at_the_highest_goal() -> None:
    masks = list(click_masks(TRUTH, ENCODING, Painter(list(map(rows, (4, 13, 14, 15))))))
    assert len(masks) == 3  # 14 of 15 is IoU 0.93


def test_clicks_are_of_the_larger_error_and_all_are_kept() -> None:
    too_much = TRUTH.copy()
    too_much[20:30] = True  # 300 pixels too many
    painter = Painter([rows(5), too_much, TRUTH])
    list(click_masks(TRUTH, ENCODING, painter))
    first, second, third = (prompts.points for prompts in painter.asked)
    assert TRUTH[int(first[0].y), int(first[0].x)]
    assert first[0].positive
    assert second[:1] == first
    assert second[1].positive
    assert second[1].y >= 10
    assert third[:2] == second
    assert not third[2].positive
    assert third[2].y >= 20


def test_the_logits_before_are_given_to_who_takes_masks() -> None:
    painter = Painter([rows(5), rows(9), TRUTH])
    list(click_masks(TRUTH, ENCODING, painter))
    assert painter.asked[0].previous_logits is None
    assert painter.asked[1].previous_logits is not None
    painter = Painter([rows(5), TRUTH])
    painter.supported_prompts = frozenset({PromptKind.POINT})
    list(click_masks(TRUTH, ENCODING, painter))
    assert painter.asked[1].previous_logits is None


def test_there_are_twenty_clicks_at_most() -> None:
    masks = list(click_masks(TRUTH, ENCODING, Painter([rows(3)])))
    assert len(masks) == MOST_CLICKS == 20


@pytest.mark.parametrize(
    ("iou", "goal", "clicks"),
    [
        ([0.5, 0.8, 0.7, 0.9], 0.80, 2),  # the first that reaches it, wherever it goes from there
        ([0.5, 0.8, 0.7, 0.9], 0.85, 4),
        ([0.5] * 20, 0.80, 20),
        ([0.5] * 19 + [0.9], 0.90, 20),
        ([], 0.80, 20),
    ],
)
def test_noc_is_the_first_click_that_reaches_the_goal(
    iou: list[float], goal: float, clicks: int
) -> None:
    assert clicks_to(iou, goal) == clicks


def test_an_answer_of_another_shape_is_a_failure() -> None:
    with pytest.raises(SegmenterFailed, match="its mask is"):
        list(click_masks(TRUTH, ENCODING, Painter([TRUTH[:5]])))


def test_a_slice_has_a_whole_object_and_a_volume_its_clicks(
    toy_models: LoadedModels, whole_case: Case, volume_case: Case
) -> None:
    method = OracleClicks(toy_models.segmenter)
    for case, judged in ((whole_case, True), (volume_case, False)):
        prepared = PreparedCase.of(case, toy_models)
        for answer in method.answers(prepared, method.targets(case)):
            assert answer.judged is judged
            assert (answer.mask is not None) is judged
            assert answer.clicks is not None
            assert not answer.clicks.box
            assert len(answer.clicks.iou) == len(answer.clicks.dice) <= MOST_CLICKS


def test_only_what_is_there_is_clicked(toy_models: LoadedModels, without_grey: Case) -> None:
    names = [t.text for t in OracleClicks(toy_models.segmenter).targets(without_grey)]
    assert names == ["bright ellipse", "dim ellipse"]


class Broken(FakeSegmenter):
    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        raise SegmenterFailed("no answer")


def test_a_segmenter_that_fails_is_named(toy_models: LoadedModels, whole_case: Case) -> None:
    method = OracleClicks(Broken())
    answers = list(
        method.answers(PreparedCase.of(whole_case, toy_models), method.targets(whole_case))
    )
    assert [a.status for a in answers] == [TargetStatus.FAILED] * 3
    assert answers[0].reason == "SegmenterFailed: no answer"
