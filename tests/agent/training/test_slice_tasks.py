"""Which slices a reader works on, and what is shown there before the first action."""

from __future__ import annotations

import numpy as np
import pytest

from agent.fakes import ArraySlices, FakeSegmenter, segmentation
from agent.limits import Limits
from agent.training.slice_tasks import (
    SliceTask,
    carried_to,
    corrected_slices,
    reached_slices,
    redrawn,
    worst_first,
)
from agent.values import Role, Target


@pytest.fixture
def column() -> np.ndarray:
    """A square of 8 pixels on the slices 1 to 3 of 5."""
    voxels = np.zeros((5, 24, 24), dtype=np.bool_)
    voxels[1:4, 8:16, 8:16] = True
    return voxels


def test_the_worst_slice_is_that_of_the_lowest_iou() -> None:
    voxels = np.ones((4, 2, 2), dtype=np.bool_)
    half, quarter, whole = voxels[0].copy(), voxels[0].copy(), voxels[0]
    half[0], quarter[0], quarter[1, 0] = False, False, False

    assert worst_first({3: half, 1: whole, 2: quarter, 0: half}, voxels) == (2, 0, 3, 1)


def test_a_gap_is_a_review_that_shows_what_lies_between(column: np.ndarray) -> None:
    truth = column[2].copy()
    column[2] = False

    task = redrawn(column, 2, truth)

    assert (task.role, task.opening) == (Role.REVIEW, None)
    np.testing.assert_array_equal(task.carried, truth)


def test_a_reader_who_looked_over_the_whole_sees_as_much_of_a_slice(column: np.ndarray) -> None:
    column[4, 2:4, 2:4] = True
    column[2] = False
    slices = ArraySlices(np.zeros(column.shape, np.float32), FakeSegmenter())

    start = redrawn(column, 2, column[1]).start(Target("liver"), slices)

    assert start.object_outline is not None
    np.testing.assert_array_equal(start.object_outline, column.any(axis=0))


def test_a_mask_in_doubt_alone_does_not_tell_where_to_look(column: np.ndarray) -> None:
    image = column[2:3]

    assert redrawn(image, 0, np.roll(image[0], 8, axis=0)).object_outline is None


def test_a_mask_without_neighbours_is_reviewed_and_nothing_alone_is_begun(
    column: np.ndarray,
) -> None:
    image = column[2:3]

    assert redrawn(image, 0, image[0]).role is Role.REVIEW
    assert redrawn(image, 0, image[0]).carried is None
    begun = redrawn(np.zeros_like(image), 0, image[0])
    assert (begun.role, begun.opening, begun.carried) == (Role.KEY, None, None)


def test_each_wrong_slice_is_shown_beside_those_that_are_right_by_then(
    column: np.ndarray,
) -> None:
    drawn = column.copy()
    drawn[2, 8:15] = False  # an eighth is left
    drawn[3, 8:12] = False  # a half is left

    worst, second = corrected_slices(column, drawn, satisfied_iou=0.9)

    assert (worst.z, second.z) == (2, 3)
    np.testing.assert_array_equal(worst.opening, drawn[2])
    np.testing.assert_array_equal(second.carried, column[2])
    assert corrected_slices(column, column, satisfied_iou=0.9) == []


def test_a_slice_is_reached_from_either_side_of_what_shows_it() -> None:
    present = np.array([False, True, True, False, False])

    assert reached_slices(present) == [(0, -1), (1, -1), (2, 1), (3, 1)]


def test_what_is_carried_is_shown_and_a_mask_elsewhere_is_objected_to(
    column: np.ndarray,
) -> None:
    slices = ArraySlices(np.zeros(column.shape, np.float32), FakeSegmenter())
    task = carried_to(column, 3, 1, column[2])
    start = task.start(Target("square"), slices)

    objects = task.objection(Limits(), slices)

    assert (start.role, start.slice_index) == (Role.CARRY, 3)
    np.testing.assert_array_equal(start.carried, column[2])
    assert len(task.behind) == 2
    assert objects(segmentation(column[3])) is None
    assert "left its place" in (objects(segmentation(np.roll(column[3], 12, axis=0))) or "")


def test_without_a_neighbour_nothing_is_objected_to(column: np.ndarray) -> None:
    slices = ArraySlices(np.zeros(column.shape, np.float32), FakeSegmenter())
    objects = SliceTask(2, column[2]).objection(Limits(), slices)

    assert objects(segmentation(np.roll(column[3], 12, axis=0))) is None
