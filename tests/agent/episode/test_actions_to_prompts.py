"""How actions add up to prompts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from agent.actions import (
    Absent,
    Action,
    AddBox,
    AddPoint,
    Malformed,
    Stop,
    action_from_record,
    action_record,
)
from agent.episode.actions_to_prompts import (
    apply_action,
    normalise_action,
    same_action,
    why_invalid,
)
from agent.values import Box, Point, PromptKind, Prompts

ALL = frozenset(PromptKind)


def of_arrays(*scalars: Any) -> tuple[Any, ...]:
    """What a policy read from arrays: numpy's scalars, whose type no checker tells any more."""
    return scalars


def click(x: float, y: float, positive: bool = True) -> AddPoint:
    return AddPoint(Point(x, y, positive))


@pytest.mark.parametrize(
    ("second", "left"),
    [
        (click(12, 10, positive=False), [(12, 10)]),  # opposite, 2 px away: undone
        (click(13, 10, positive=False), [(13, 10)]),  # opposite, exactly 3 px away: undone
        (click(13.1, 10, positive=False), [(10, 10), (13.1, 10)]),  # opposite, further: both
        (click(11, 10), [(10, 10), (11, 10)]),  # the same sign: both
    ],
)
def test_an_opposite_click_within_three_pixels_undoes(
    second: AddPoint, left: list[tuple[float, float]]
) -> None:
    prompts = apply_action(apply_action(Prompts(), click(10, 10), 3.0), second, 3.0)

    assert [(point.x, point.y) for point in prompts.points] == left


def test_a_box_replaces_the_box_and_leaves_the_clicks() -> None:
    prompts = apply_action(
        apply_action(Prompts(), click(10, 10), 3.0), AddBox(Box(0, 0, 5, 5)), 3.0
    )

    prompts = apply_action(prompts, AddBox(Box(1, 1, 9, 9)), 3.0)

    assert prompts.box == Box(1, 1, 9, 9)
    assert len(prompts.points) == 1


@pytest.mark.parametrize(
    ("action", "supported_prompts", "says"),
    [
        (click(1, 1), {PromptKind.BOX}, "does not understand a point; use box"),
        (AddBox(Box(0, 0, 1, 1)), {PromptKind.POINT}, "does not understand a box; use point"),
        (AddBox(Box(0, 0, 1, 1)), {PromptKind.MASK}, "use no drawing action"),
        (click(20, 1), ALL, "the point leaves the image; x runs from 0 to 19, y from 0 to 9"),
        (AddBox(Box(0, 0, 19, 10)), ALL, "the box leaves the image"),
    ],
)
def test_refusals_name_what_would_do(action: Any, supported_prompts: Any, says: str) -> None:
    assert says in (why_invalid(action, supported_prompts, (10, 20)) or "")


@pytest.mark.parametrize("action", [click(19.5, 9.5), click(-0.5, 0), AddBox(Box(0, 0, 19, 9))])
def test_the_whole_slice_may_be_prompted(action: Any) -> None:
    assert why_invalid(action, ALL, (10, 20)) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (click(10, 10), click(10.1, 9.9), True),
        (click(10, 10), click(10, 10, positive=False), False),
        (click(10, 10), click(10.6, 10), False),
        (AddBox(Box(0, 0, 5, 5)), AddBox(Box(0, 0.1, 5, 5)), True),
        (AddBox(Box(0, 0, 5, 5)), click(0, 0), False),
        (click(0, 1.7e308), click(0, 1.7e308), True),  # twice this is infinite
        (click(0, 1.7e308), click(0, 1.6e308), False),
    ],
)
def test_actions_are_the_same_to_half_a_pixel(one: Action, other: Action, same: bool) -> None:
    assert same_action(one, other) == same


@pytest.mark.parametrize(
    "action",
    [
        AddBox(Box(*of_arrays(np.float32(1), np.float32(2), np.float32(3), np.int64(4)))),
        AddPoint(Point(*of_arrays(np.float32(1), np.int64(2), np.bool_(True)))),
        AddPoint(Point(float("nan"), 0)),
        AddPoint(Point(0, float("-inf"))),
        Stop(),
        Absent("not here"),
        Malformed("?"),
    ],
)
def test_whatever_a_policy_hands_in_goes_on_record_and_comes_back(action: Action) -> None:
    # Act
    on_record = normalise_action(action)
    back = action_from_record(json.loads(json.dumps(action_record(on_record), allow_nan=False)))

    # Assert
    assert back == on_record


def test_an_action_of_a_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match="not an action of this trace version"):
        action_from_record({"kind": "scribble"})
