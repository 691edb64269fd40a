"""What the fake segmenters draw with: regions as bright as a centre, islands, discs, shares."""

from __future__ import annotations

import numpy as np

from agent.fake_drawing import (
    CLICK_RADIUS_PX,
    ball,
    bright_as_centre,
    bright_in_volume,
    filled_share,
    largest_island,
    low_res,
    overlapping_island,
)
from agent.values import Box, VoxelBox


def two_islands() -> np.ndarray:
    """A large square at the upper left, a small one at the lower right."""
    mask = np.zeros((12, 16), dtype=np.bool_)
    mask[1:6, 1:6] = True
    mask[8:11, 12:15] = True
    return mask


def test_a_region_is_what_is_as_bright_as_the_boxs_centre_and_within_it() -> None:
    image = np.where(two_islands(), 0.8, 0.1).astype(np.float32)

    region = bright_as_centre(image, Box(0, 0, 7, 7))

    assert region.sum() == 25 - 4  # its corners are smoothed away
    assert region[1:6, 2:5].all()
    assert not region[8:].any()


def test_a_region_in_a_volume_hangs_together_with_the_boxs_centre() -> None:
    volume = np.zeros((5, 12, 16), dtype=np.float32)
    volume[1:4] = np.where(two_islands(), 0.8, 0.1)

    region = bright_in_volume(volume, VoxelBox(2, 0, 0, 2, 7, 7))

    assert [int(plane.sum()) for plane in region] == [0, 25, 25, 25, 0]


def test_a_ball_has_the_radius_of_a_click_on_every_axis() -> None:
    inside = ball((15, 15, 15), (7, 7, 7))

    assert inside.sum(axis=0).any(axis=0).sum() == 2 * int(CLICK_RADIUS_PX) + 1
    assert inside[7, 7, 7 + int(CLICK_RADIUS_PX)]
    assert not inside[7, 7, 8 + int(CLICK_RADIUS_PX)]


def test_of_several_islands_the_largest_is_kept() -> None:
    island = largest_island(two_islands())

    assert island.sum() == 25
    assert island[1, 1]
    assert not largest_island(np.zeros((3, 3), dtype=np.bool_)).any()


def test_an_island_is_followed_by_its_overlap_and_scored_by_it() -> None:
    before = np.zeros((12, 16), dtype=np.bool_)
    before[8:11, 12:14] = True

    island, score = overlapping_island(two_islands(), before)

    assert island.sum() == 5  # what is thinner than three pixels is no island
    assert island[9, 14]
    assert score == 4 / 5  # as a share of the smaller mask


def test_nothing_overlaps_nothing() -> None:
    island, score = overlapping_island(two_islands(), np.zeros((12, 16), dtype=np.bool_))

    assert not island.any()
    assert score == 0.0


def test_the_filled_share_is_that_of_the_tight_box() -> None:
    corner = np.zeros((6, 6), dtype=np.bool_)
    corner[1, 1] = corner[2, 1] = corner[2, 2] = True

    assert filled_share(corner) == 0.75
    assert filled_share(np.zeros((6, 6), dtype=np.bool_)) == 0.0


def test_low_resolution_is_the_nearest_pixels_of_any_slice() -> None:
    image = np.arange(128 * 192, dtype=np.float32).reshape(128, 192)

    small = low_res(image)

    assert np.array_equal(small, image[::2, ::3])
    assert small.dtype == np.float32
    assert low_res(image[:5, :7]).shape == (64, 64)
