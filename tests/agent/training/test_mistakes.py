"""Wrong actions are wrong in every way that there is, and can be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from agent.actions import Action, AddBox, AddPoint, Stop
from agent.training.mistakes import mistake
from agent.values import Box, Point, PromptKind

BOTH = frozenset({PromptKind.BOX, PromptKind.POINT})
BOXES = frozenset({PromptKind.BOX})
POINTS = frozenset({PromptKind.POINT})


def truth(side: int = 64) -> np.ndarray:
    mask = np.zeros((side, side), dtype=np.bool_)
    mask[20:40, 24:36] = True
    return mask


def many(mask: np.ndarray, prompts: frozenset[PromptKind], *earlier: Action) -> list[Action]:
    rng = np.random.default_rng(0)
    return [mistake(mask, prompts, earlier, rng) for _ in range(200)]


def covered(box: Box, mask: np.ndarray) -> float:
    """IoU of a box with the truth's box."""
    inside = np.zeros_like(mask)
    inside[round(box.y0) : round(box.y1) + 1, round(box.x0) : round(box.x1) + 1] = True
    whole = np.zeros_like(mask)
    whole[20:40, 24:36] = True
    return float((inside & whole).sum() / (inside | whole).sum())


def test_boxes_are_beside_far_too_wide_or_about_a_part() -> None:
    boxes = [action.box for action in many(truth(), BOTH) if isinstance(action, AddBox)]

    assert len(boxes) > 80
    assert max(covered(box, truth()) for box in boxes) < 0.6
    sizes = [(box.x1 - box.x0) * (box.y1 - box.y0) for box in boxes]
    assert min(sizes) < 0.3 * 20 * 12 < 3 * 20 * 12 < max(sizes)


def test_clicks_have_the_wrong_sign() -> None:
    clicks = [action.point for action in many(truth(), BOTH) if isinstance(action, AddPoint)]

    assert {click.positive for click in clicks} == {True, False}
    assert all(truth()[round(c.y), round(c.x)] != c.positive for c in clicks)


def test_a_prompt_that_the_segmenter_does_not_understand_is_one() -> None:
    clicks = [action.point for action in many(truth(), BOXES) if isinstance(action, AddPoint)]
    boxes = [action for action in many(truth(), POINTS) if isinstance(action, AddBox)]

    assert clicks
    assert all(truth()[round(c.y), round(c.x)] and c.positive for c in clicks)  # right but refused
    assert boxes


def test_an_end_without_a_mask_and_the_same_again() -> None:
    first = AddBox(Box(1, 1, 5, 5))

    assert Stop() in many(truth(), BOTH)
    assert Stop() not in many(truth(), BOTH, first)
    assert first in many(truth(), BOTH, first)


@pytest.mark.parametrize("mask", [np.zeros((16, 16), bool), np.ones((16, 16), bool)])
@pytest.mark.parametrize("prompts", [BOTH, BOXES, POINTS])
def test_an_empty_or_full_truth_has_mistakes_inside_the_image(
    mask: np.ndarray, prompts: frozenset[PromptKind]
) -> None:
    for action in many(mask, prompts):
        match action:
            case AddBox(box):
                assert 0 <= box.x0 <= box.x1 <= 15
                assert 0 <= box.y0 <= box.y1 <= 15
            case AddPoint(Point(x, y)):
                assert 0 <= x <= 15
                assert 0 <= y <= 15
