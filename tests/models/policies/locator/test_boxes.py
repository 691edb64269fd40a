"""The boxes worth trying: in which order, and the same numbers as on the whole slice."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from agent.values import Box, Segmentation
from models.policies.locator.boxes import (
    AIMS,
    SUPPORT_LEVEL,
    blurred,
    box_of_main_parts,
    candidate_boxes,
    supported_box,
    window_around,
)

SHAPES = [(120, 90), (64, 200), (33, 33)]


def blobs(shape: tuple[int, int], seed: int) -> NDArray[np.float32]:
    """A smooth map in 0..1 with several parts, some of which touch the edge."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 5)
    return np.clip(noise / noise.max(), 0, 1).astype(np.float32)


def drawn(mask: NDArray[np.bool_]) -> Segmentation:
    """A segmenter's answer with `mask`."""
    return Segmentation(mask, np.zeros((4, 4), dtype=np.float32), 0.9)


def rectangle(rows: slice, columns: slice) -> NDArray[np.bool_]:
    """A mask (64, 64) of one rectangle."""
    mask = np.zeros((64, 64), dtype=bool)
    mask[rows, columns] = True
    return mask


def test_a_map_of_zeros_has_no_box() -> None:
    assert not list(candidate_boxes(np.zeros((8, 8), np.float32), None))


def test_the_boxes_come_in_the_order_of_the_aims() -> None:
    # Arrange: a large part that is sure, a tenth as large one beside it
    expected = np.zeros((256, 256), dtype=np.float32)
    expected[100:140, 60:100] = 0.9
    expected[200:220, 60:80] = 0.9
    expected[100:140, 100:110] = 0.2  # only the looser box is to see this
    best = drawn(expected > 0.1)

    # Act
    reasons, boxes = zip(*candidate_boxes(expected, best), strict=True)

    # Assert: the margins are 3, 1 and 2 pixels, that of the drawn mask is 1
    assert reasons[:3] == tuple(aim.why for aim in AIMS)
    assert boxes == (
        Box(57, 97, 102, 222),
        Box(59, 99, 100, 140),
        Box(58, 98, 111, 141),
        Box(59, 99, 110, 220),
    )


def test_a_faint_structure_is_boxed_at_its_own_level() -> None:
    expected = np.zeros((256, 256), dtype=np.float32)
    expected[10:20, 10:20] = 0.3

    (_, first), *_ = candidate_boxes(expected, None)

    assert first == Box(7, 7, 22, 22)


def test_small_parts_are_left_outside() -> None:
    mask = rectangle(slice(10, 30), slice(5, 25)) | rectangle(slice(50, 52), slice(60, 64))

    assert box_of_main_parts(mask, 0.15) == Box(5, 10, 24, 29)
    assert box_of_main_parts(mask, 0.02) == Box(5, 10, 63, 51)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("least_share", [0.0, 0.3, 0.9, 1.0])
def test_the_box_is_that_of_the_labels_of_the_whole_slice(
    shape: tuple[int, int], least_share: float
) -> None:
    for seed in range(8):
        mask = blobs(shape, seed) > 0.4
        labels, _ = ndimage.label(mask)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        parts = (sizes >= least_share * sizes.max())[labels] & mask

        assert box_of_main_parts(mask, least_share) == Box.around(parts)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach_px", [1, 4])
def test_the_supported_box_is_that_of_a_dilation_of_the_whole_slice(
    shape: tuple[int, int], reach_px: int
) -> None:
    for seed in range(8):
        expected, mask = blobs(shape, seed), blobs(shape, seed + 100) > 0.5
        support = ndimage.binary_dilation(expected > SUPPORT_LEVEL, iterations=reach_px)
        shared = mask & support

        box = supported_box(mask, expected, reach_px)

        assert box == (Box.around(shared) if shared.any() else None)


def test_what_was_drawn_far_from_the_map_has_no_box() -> None:
    expected = rectangle(slice(0, 5), slice(0, 5)).astype(np.float32)

    assert supported_box(rectangle(slice(40, 50), slice(40, 50)), expected, 2) is None
    assert supported_box(np.zeros((64, 64), dtype=bool), expected, 2) is None


@pytest.mark.parametrize("sigma_px", [0.3, 1.0, 4.0])
@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(20, 40), slice(25, 30)),
        (slice(0, 3), slice(0, 64)),  # at two edges, where the mirror counts
        (slice(60, 64), slice(62, 64)),  # in a corner
        (slice(0, 64), slice(0, 64)),
        (slice(0, 0), slice(0, 0)),
    ],
)
def test_a_blurred_mask_is_bit_for_bit_that_of_the_whole_slice(
    rows: slice, columns: slice, sigma_px: float
) -> None:
    mask = rectangle(rows, columns)

    whole = ndimage.gaussian_filter(mask.astype(np.float32), sigma_px)

    assert np.array_equal(blurred(mask, sigma_px), whole)


def test_a_window_ends_where_the_slice_does() -> None:
    mask = rectangle(slice(2, 4), slice(30, 64))

    assert window_around(mask, 5) == (slice(0, 9), slice(25, 64))
    with pytest.raises(ValueError, match="empty"):
        window_around(np.zeros((4, 4), dtype=bool))
