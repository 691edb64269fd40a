"""Which thin slices are drawn, and the mask between two: discs, holes, parts, single pixels."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from agent.fakes import ellipse
from agent.volume import between as module
from agent.volume.between import between, dice, drawing_stride, interpolated, slices_drawn
from agent.volume.neighbours import radius_px

SHAPE = (80, 80)

Mask2D = NDArray[np.bool_]


def disc(radius: float, x: float = 40, y: float = 40) -> Mask2D:
    return ellipse(SHAPE, (x, y), (radius, radius))


def pixel(row: int, column: int) -> Mask2D:
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[row, column] = True
    return mask


@pytest.mark.parametrize(
    ("step_mm", "draw_step_mm", "stride"),
    [
        (2.0, 4.0, 2),
        (1.0, 4.0, 4),
        (0.8, 4.0, 5),
        (1.3333333333333335, 4.0, 3),  # a quotient that is a hair below 3
        (2.5, 4.0, 1),  # two of these would be more than 4 mm
        (5.0, 4.0, 1),
        (1.0, 0.0, 1),  # 0 draws every slice
    ],
)
def test_drawn_slices_are_at_most_the_step_apart(
    step_mm: float, draw_step_mm: float, stride: int
) -> None:
    assert drawing_stride(step_mm, draw_step_mm) == stride


@pytest.mark.parametrize(
    ("depth", "stride", "expected"),
    [(7, 2, (0, 2, 4, 6)), (8, 3, (0, 3, 6, 7)), (1, 4, (0,)), (3, 1, (0, 1, 2))],
)
def test_the_first_and_the_last_slice_are_drawn(
    depth: int, stride: int, expected: tuple[int, ...]
) -> None:
    assert slices_drawn(depth, stride) == expected


def test_between_two_discs_lies_the_middle_one() -> None:
    middle = between(disc(10), disc(20))

    assert radius_px(middle) == pytest.approx(15, abs=0.5)


@pytest.mark.parametrize(("share", "radius"), [(0.0, 10), (0.25, 12.5), (0.75, 17.5), (1.0, 20)])
def test_the_nearer_mask_has_more_of_it(share: float, radius: float) -> None:
    assert radius_px(interpolated(disc(10), disc(20), share)) == pytest.approx(radius, abs=0.5)


def test_between_the_same_lies_the_same() -> None:
    assert np.array_equal(between(disc(10), disc(10)), disc(10))
    assert np.array_equal(interpolated(disc(10), disc(10), 0.3), disc(10))


def test_between_two_that_do_not_meet_lies_nothing() -> None:
    assert not between(disc(5, x=10), disc(5, x=70)).any()
    assert not interpolated(disc(5, x=10), disc(5, x=70), 0.5).any()


def test_a_disc_that_moves_is_midway_and_keeps_its_size() -> None:
    first, last = disc(15, x=38), disc(15, x=42)

    middle = interpolated(first, last, 0.5)

    assert dice(middle, disc(15)) > 0.98
    assert np.count_nonzero(middle) == pytest.approx(np.count_nonzero(disc(15)), rel=0.02)


def test_pixels_on_the_line_itself_are_not_lost() -> None:
    # half-way to the next pixel the whole edge lies on the line: 4 % of this disc
    assert np.array_equal(interpolated(disc(15), disc(15, x=41), 0.5), disc(15))


def test_a_hole_stays_a_hole() -> None:
    ring, other = disc(20) & ~disc(8), disc(22) & ~disc(10)

    middle = interpolated(ring, other, 0.5)

    assert not middle[40, 40]
    assert radius_px(ndimage.binary_fill_holes(middle) & ~middle) == pytest.approx(9, abs=0.5)


def test_two_parts_stay_two() -> None:
    first = disc(8, x=20) | disc(8, x=60)
    last = disc(10, x=20) | disc(6, x=60)

    middle = interpolated(first, last, 0.5)

    labels, count = ndimage.label(middle)
    assert count == 2
    assert radius_px(labels == labels[40, 20]) == pytest.approx(9, abs=0.5)
    assert radius_px(labels == labels[40, 60]) == pytest.approx(7, abs=0.5)


def test_one_pixel_is_a_mask_too() -> None:
    assert np.array_equal(interpolated(pixel(5, 5), pixel(5, 5), 0.5), pixel(5, 5))
    assert not interpolated(pixel(5, 5), pixel(50, 50), 0.5).any()


def test_a_mask_at_the_edge_of_the_slice_has_an_outline_there() -> None:
    left = np.zeros(SHAPE, dtype=np.bool_)
    left[:, :10] = True

    assert np.array_equal(between(left, left), left)
    assert np.array_equal(interpolated(left, left, 0.5), left)


def test_dice_of_nothing_and_nothing() -> None:
    empty, full = np.zeros((2, 2), dtype=np.bool_), np.ones((2, 2), dtype=np.bool_)

    assert dice(empty, empty) == 1.0
    assert dice(empty, full) == 0.0
    assert dice(full, full) == 1.0


def test_the_examples_are_right() -> None:
    assert doctest.testmod(module).failed == 0
