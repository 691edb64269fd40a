"""A mask kept as the box around it is the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dicom_node.voxels import Voxels, overlap

SHAPE = (6, 9, 7)


def filled(*spans: slice) -> NDArray[np.bool_]:
    """A mask that is full in a block of the grid."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[spans] = True
    return mask


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Some voxels on a small grid, or none, in any corner of it."""
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    mask = np.zeros(shape, np.bool_)
    for index in draw(
        st.lists(st.tuples(*[st.integers(0, size - 1) for size in shape]), max_size=6)
    ):
        mask[index] = True
    return mask


@given(masks())
def test_the_mask_comes_back_whole_and_slice_by_slice(mask: NDArray[np.bool_]) -> None:
    voxels = Voxels.of(mask)

    np.testing.assert_array_equal(voxels.whole(), mask)
    np.testing.assert_array_equal([voxels.plane(z) for z in range(len(mask))], mask)
    np.testing.assert_array_equal(voxels.areas, mask.sum(axis=(1, 2)))
    assert voxels.count == mask.sum()


@given(masks(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_turned_as_an_array_is_turned(
    mask: NDArray[np.bool_], axes: list[int], reverse: tuple[bool, bool, bool]
) -> None:
    turned = Voxels.of(mask).turned((axes[0], axes[1], axes[2]), reverse)

    expected = np.flip(mask.transpose(axes), tuple(axis for axis in range(3) if reverse[axis]))
    np.testing.assert_array_equal(turned.whole(), expected)
    np.testing.assert_array_equal(turned.areas, expected.sum(axis=(1, 2)))


@given(masks().filter(lambda mask: bool(mask.any())))
def test_values_inside_are_those_of_the_grid(mask: NDArray[np.bool_]) -> None:
    grid = np.random.default_rng(1).random(mask.shape).astype(np.float32)

    np.testing.assert_array_equal(Voxels.of(mask).of_grid(grid), grid[mask])


def test_the_box_is_the_smallest_and_a_copy() -> None:
    mask = filled(slice(2, 4), slice(1, 8), slice(5, 7))

    voxels = Voxels.of(mask)
    mask[:] = False

    assert (voxels.origin, voxels.box.shape, voxels.slices) == ((2, 1, 5), (2, 7, 2), range(2, 4))
    assert voxels.count == 28


@pytest.mark.parametrize("origin", [(-1, 0, 0), (5, 0, 0), (0, 0, 6)])
def test_a_box_beyond_the_grid_is_refused(origin: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="does not lie within"):
        Voxels(SHAPE, origin, np.ones((2, 2, 2), np.bool_))


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (filled(slice(0, 6), slice(4, 9), slice(0, 7)), False),  # beside it
        (filled(slice(3, 6), slice(0, 4), slice(0, 7)), False),  # above it
        (filled(slice(2, 6), slice(3, 9), slice(6, 7)), True),  # in one voxel
        (filled(slice(0, 0)), False),
    ],
    ids=["beside", "above", "one voxel", "empty"],
)
def test_overlap(other: NDArray[np.bool_], shared: bool) -> None:
    block = filled(slice(0, 3), slice(0, 4), slice(0, 7))

    assert overlap([Voxels.of(block), Voxels.of(other)]) is shared
    assert overlap([Voxels.of(block)]) is False


def test_boxes_that_meet_without_a_common_voxel_do_not_overlap() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[::2, ::2, ::2] = True

    assert overlap([Voxels.of(mask), Voxels.of(~mask)]) is False
