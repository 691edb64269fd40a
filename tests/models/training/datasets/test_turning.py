"""A label map in another order of axes comes onto its image, and no other does."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.geometry import Geometry
from models.training.datasets.turning import turned_onto

OBLIQUE = np.array(
    [[0.8, 0.6, 0, 4], [-0.6, 0.8, 0, 5], [0, 0, 1, 6], [0, 0, 0, 1]], dtype=np.float64
)
GRID = Geometry((3, 4, 5), OBLIQUE @ np.diag([2.5, 0.7, 0.7, 1.0]))
VOXELS = np.arange(60).reshape(3, 4, 5)


def stored(
    order: tuple[int, int, int], flips: tuple[int, ...]
) -> tuple[NDArray[np.int64], Geometry]:
    """GRID's voxels with axes exchanged and mirrored, and the geometry that says so."""
    voxels = np.transpose(VOXELS, order)
    affine = GRID.affine_zyx_to_lps[:, [*order, 3]].copy()
    for axis in np.flatnonzero(flips):
        voxels = np.flip(voxels, int(axis))
        affine[:, 3] += affine[:, axis] * (voxels.shape[axis] - 1)
        affine[:, axis] *= -1
    depth, rows, columns = voxels.shape
    return voxels, Geometry((depth, rows, columns), affine)


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_any_order_of_the_axes_comes_back_to_the_voxel(order: tuple[int, int, int]) -> None:
    for flips in product((0, 1), repeat=3):
        voxels, geometry = stored(order, flips)

        np.testing.assert_array_equal(turned_onto(voxels, geometry, GRID), VOXELS)


def changed(
    matrix: NDArray[np.float64] | None = None, shift: tuple[int, int, int] = (0, 0, 0)
) -> Geometry:
    affine = GRID.affine_zyx_to_lps @ (np.eye(4) if matrix is None else matrix)
    affine[:3, 3] += shift
    return Geometry((3, 4, 5), affine)


@pytest.mark.parametrize(
    "geometry",
    [
        changed(shift=(1, 0, 0)),
        changed(np.diag([1.0, 1.1, 1.0, 1.0])),
        changed(np.array([[1, 0, 0, 0], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0], [0, 0, 0, 1.0]])),
        changed(np.diag([1.0, 2.0, 1.0, 1.0])),
    ],
)
def test_another_place_scale_or_turn_is_refused(geometry: Geometry) -> None:
    with pytest.raises(ValueError, match=r"axes are not|place is another"):
        turned_onto(VOXELS, geometry, GRID)


def test_a_part_of_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="place is another"):
        turned_onto(VOXELS[:2], Geometry((2, 4, 5), GRID.affine_zyx_to_lps), GRID)
