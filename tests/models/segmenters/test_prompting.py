"""What the promptable segmenters share: kinds of prompt, tables of clicks, groups of asks, the
answer of several candidates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agent.ports import PromptedSlice
from agent.values import Box, Point, PromptKind, Prompts, Segmentation
from models.errors import PromptNotUnderstood
from models.runtime.encoding import Features
from models.segmenters.prompting import (
    AT_ONCE,
    answer,
    check_logits,
    corners_and_clicks,
    in_groups,
    kinds_of,
    outline_logits,
    require_understood,
    resized,
)

LOGITS = np.zeros((4, 4), dtype=np.float32)
OUTLINE = np.ones((4, 4), dtype=np.bool_)


@pytest.mark.parametrize(
    ("prompts", "kinds"),
    [
        (Prompts(), ""),
        (Prompts(box=Box(0, 0, 1, 1)), "box"),
        (Prompts(points=(Point(0, 0),), text="liver"), "point text"),
        (Prompts(previous_logits=LOGITS), "mask"),
        (Prompts(mask=OUTLINE), "mask"),
    ],
)
def test_the_kinds_of_prompt_that_are_there(prompts: Prompts, kinds: str) -> None:
    assert kinds_of(prompts) == {PromptKind(kind) for kind in kinds.split()}


def test_corners_come_before_clicks_with_sams_labels() -> None:
    points, labels = corners_and_clicks(
        Prompts(box=Box(1, 2, 3, 4), points=(Point(5.5, 6), Point(7, 8, positive=False)))
    )

    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, [[1, 2], [3, 4], [5.5, 6], [7, 8]])
    np.testing.assert_array_equal(labels, [2, 3, 1, 0])


def test_no_corners_and_no_clicks_are_an_empty_table() -> None:
    points, labels = corners_and_clicks(Prompts(mask=OUTLINE))

    assert points.shape == (0, 2)
    assert labels.shape == (0,)


def test_a_refusal_says_what_is_understood() -> None:
    both = frozenset({PromptKind.POINT, PromptKind.BOX})

    with pytest.raises(PromptNotUnderstood, match=r"sam2 needs .*: box, point"):
        require_understood("sam2", both, Prompts(text="liver", box=Box(0, 0, 1, 1)))
    with pytest.raises(PromptNotUnderstood):
        require_understood("sam2", both, Prompts())


def test_groups_are_drawn_together_and_answers_come_in_order() -> None:
    # Arrange: 70 asks of two kinds, interleaved
    encoding = Features(np.zeros((1, 1, 1), dtype=np.float32), (1, 1))
    asks = [
        PromptedSlice(encoding, Prompts(points=(Point(number, 0),) * (1 + number % 2)))
        for number in range(70)
    ]
    runs = []

    def draw(some: Any) -> Any:
        runs.append(len(some))
        assert len({len(ask.prompts.points) for ask in some}) == 1
        return [Segmentation(OUTLINE, LOGITS, ask.prompts.points[0].x) for ask in some]

    # Act
    answers = in_groups(asks, lambda ask: len(ask.prompts.points), draw)

    # Assert
    assert [each.predicted_iou for each in answers] == list(range(70))
    assert runs == [AT_ONCE, 3, AT_ONCE, 3]


def test_the_best_candidate_answers() -> None:
    # Arrange
    low_res = torch.stack([torch.full((2, 2), value) for value in (-50.0, 40.0, 1.0)])

    # Act
    drawn = answer(low_res, torch.tensor([0.2, 1.5, 0.9]), lambda plane: resized(plane, (6, 4)))

    # Assert
    assert drawn.choice == 1
    assert drawn.predicted_iou == 1.0
    assert drawn.candidate_ious == pytest.approx((0.2, 1.5, 0.9))
    assert drawn.mask.shape == (6, 4)
    assert drawn.mask.all()
    np.testing.assert_array_equal(drawn.logits, np.full((2, 2), 32, dtype=np.float32))


def test_an_outline_is_certain_logits() -> None:
    logits = outline_logits(np.array([[True, False]])).numpy()

    np.testing.assert_array_equal(logits, [[10, -10]])


def test_logits_of_another_size_are_refused() -> None:
    assert check_logits("sam2", LOGITS, 4).shape == (4, 4)
    with pytest.raises(ValueError, match=r"sam2 takes back logits of \(8, 8\)"):
        check_logits("sam2", LOGITS, 8)
