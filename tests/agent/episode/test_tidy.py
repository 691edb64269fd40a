"""Holes, specks, and the parts of an object that nobody looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from agent.episode.tidy import tidy_object, tidy_slice


def blocks(shape: tuple[int, ...], *spans: tuple[int | slice, ...]) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.bool_)
    for span in spans:
        mask[span] = True
    return mask


def test_holes_are_filled_and_bays_are_not() -> None:
    mask = blocks((20, 20), np.s_[2:12, 2:12])
    mask[5:7, 5:7] = False  # a hole
    mask[2:5, 8] = False  # a bay, open to the outside

    tidy = tidy_slice(mask)

    assert tidy[5:7, 5:7].all()
    assert not tidy[2:5, 8].any()


def test_a_hole_that_touches_a_corner_only_is_a_hole() -> None:
    ring = blocks((5, 5), np.s_[0:3, 0:3])
    ring[1, 1] = False
    ring[0, 0] = False  # the outside meets the hole's corner, not its edge

    assert tidy_slice(ring)[1, 1]


@pytest.mark.parametrize(
    ("side", "stays"),
    [
        (3, False),  # 9 of 100 pixels: a speck
        (4, True),  # 16 of 100 pixels: a part
    ],
)
def test_islands_are_judged_by_their_share_of_the_largest(side: int, stays: bool) -> None:
    mask = blocks((30, 30), np.s_[2:12, 2:12], np.s_[20 : 20 + side, 20 : 20 + side])

    assert tidy_slice(mask)[20, 20] == stays


def test_an_empty_slice_stays_empty() -> None:
    assert not tidy_slice(np.zeros((4, 4), dtype=np.bool_)).any()


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_tidying_is_done_once_and_for_all(mask: np.ndarray) -> None:
    tidy = tidy_slice(mask)

    assert tidy.shape == mask.shape
    assert tidy.any() == mask.any()
    assert np.array_equal(tidy_slice(tidy), tidy)


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_nothing_is_added_but_holes(mask: np.ndarray) -> None:
    assert not (tidy_slice(mask) & ~ndimage.binary_fill_holes(mask)).any()


def test_an_object_keeps_its_largest_part() -> None:
    voxels = blocks((10, 20, 20), np.s_[0:5, 2:12, 2:12], np.s_[7:9, 15:18, 15:18])

    tidy = tidy_object(voxels, trusted_slices=[2])

    assert tidy[:5].sum() == 500
    assert not tidy[7:].any()


def test_a_second_part_on_a_key_slice_stays() -> None:
    voxels = blocks((10, 20, 20), np.s_[0:5, 2:12, 2:12], np.s_[7:9, 12:18, 12:18])

    assert np.array_equal(tidy_object(voxels, trusted_slices=[2, 8]), voxels)
    assert not tidy_object(voxels, trusted_slices=[2])[7:].any()


def test_the_largest_part_stays_whatever_the_key_slices_hold() -> None:
    voxels = blocks((10, 20, 20), np.s_[0:5, 2:12, 2:12], np.s_[7:9, 15:17, 15:17])

    tidy = tidy_object(voxels, trusted_slices=[8])

    assert tidy[:5].sum() == 500
    assert not tidy[7:].any()


def test_a_speck_goes_even_from_a_key_slice() -> None:
    voxels = blocks((10, 20, 20), np.s_[0:5, 2:12, 2:12], np.s_[2:3, 15:18, 15:18])

    assert not tidy_object(voxels, trusted_slices=[2])[2, 15, 15]


def test_parts_that_touch_at_a_corner_are_one() -> None:
    voxels = blocks((2, 4, 4), np.s_[0, 0:2, 0:2], np.s_[1, 2:4, 2:4])

    assert np.array_equal(tidy_object(voxels, trusted_slices=[0]), voxels)


@given(st.booleans())
def test_an_object_in_one_part_is_left_alone(filled: bool) -> None:
    voxels = np.full((3, 4, 5), filled)

    assert tidy_object(voxels, trusted_slices=[1]) is voxels
