"""Masks after each turn, from turns whose masks are known by heart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.actions import Absent, AddBox, NameSlices
from agent.turn_masks import TurnMasks
from agent.turns import WHOLE_VOLUME, Outcome, Turn
from agent.values import Box, Role
from models.evaluation.methods.by_turn import last_masks, masks_by_turn

SHAPE = (3, 2, 4)


def columns(count: int) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE[1:], bool)
    mask[:, :count] = True
    return mask


def turn(
    z: int, index: int, outcome: Outcome, count: int | None = None, role: Role = Role.KEY
) -> Turn:
    masks = None if count is None else TurnMasks.of({z: columns(count)})
    return Turn(z, index, role, AddBox(Box(0, 0, 1, 1)), outcome, masks=masks)


def areas(voxels: NDArray[np.bool_]) -> list[int]:
    """Columns filled on each slice."""
    return [int(n) // 2 for n in voxels.sum(axis=(1, 2))]


COURSE = [
    turn(1, 0, Outcome.KEPT, 1),
    turn(1, 1, Outcome.ROLLED_BACK, 4),
    turn(1, 2, Outcome.KEPT, 2),
    turn(1, 3, Outcome.ROLLED_BACK, 3),
    turn(1, 4, Outcome.STOPPED),
]


def test_the_best_mask_so_far_stands_after_each_turn() -> None:
    objects = masks_by_turn(COURSE, SHAPE, 4)
    assert [areas(voxels) for voxels in objects] == [[0, n, 0] for n in (1, 1, 2, 2)]


def test_the_last_mask_is_the_last_that_was_drawn() -> None:
    assert areas(last_masks(COURSE, SHAPE)) == [0, 3, 0]


def test_a_slice_that_stopped_early_keeps_its_mask() -> None:
    course = [*COURSE, turn(2, 0, Outcome.KEPT, 4, Role.CARRY)]
    assert [areas(voxels) for voxels in masks_by_turn(course, SHAPE, 5)][::4] == [
        [0, 1, 4],
        [0, 2, 4],
    ]


def test_absent_takes_the_mask_of_its_slice_away() -> None:
    gone = Turn(1, 5, Role.REVIEW, Absent(), Outcome.ABSENT)
    before, after = masks_by_turn([*COURSE, gone], SHAPE, 5)[-2:]
    assert (areas(before), areas(after)) == ([0, 2, 0], [0, 0, 0])
    assert areas(last_masks([*COURSE, gone], SHAPE)) == [0, 0, 0]


def test_what_was_followed_is_there_from_the_first_turn() -> None:
    followed = Turn(
        WHOLE_VOLUME,
        7,
        Role.CARRY,
        NameSlices((0, 2)),
        Outcome.KEPT,
        masks=TurnMasks.of({0: columns(2), 2: columns(1)}),
    )
    first = masks_by_turn([*COURSE, followed], SHAPE, 5)[0]
    assert areas(first) == [2, 1, 1]


def test_the_last_budget_has_the_review_too() -> None:
    review = turn(1, 9, Outcome.KEPT, 4, Role.REVIEW)
    assert areas(masks_by_turn([*COURSE, review], SHAPE, 5)[-1]) == [0, 4, 0]
    assert areas(masks_by_turn([*COURSE, review], SHAPE, 5)[-2]) == [0, 2, 0]


def test_no_turn_is_an_empty_object() -> None:
    assert [areas(voxels) for voxels in masks_by_turn([], SHAPE, 2)] == [[0, 0, 0]] * 2
