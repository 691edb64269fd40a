"""Source grid to working grid and back: bit-exact where only turned, true to half a voxel where
resampled.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from agent.geometry import Geometry
from agent.values import Volume
from models.images.preprocessing import WorkingGrid, axis_codes

TURNS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def grid(
    shape: tuple[int, int, int],
    order: tuple[int, int, int] = (2, 1, 0),
    signs: tuple[int, int, int] = (1, 1, 1),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    turn_deg: tuple[float, float, float] = (0, 0, 0),
) -> Geometry:
    """A grid whose axes z, y, x run along patient axes `order` (0 x, 1 y, 2 z), then turned about
    the patient's.
    """
    directions = np.zeros((3, 3))
    for axis, (along, sign) in enumerate(zip(order, signs, strict=True)):
        directions[along, axis] = sign
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix() @ directions
    affine[:3, :3] = turned * spacing
    affine[:3, 3] = (-31.0, 17.0, 230.5)
    return Geometry(shape, affine)


def positions(geometry: Geometry) -> Any:
    """Patient positions (n, 3) of all voxel centres in order."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    return geometry.to_patient_mm(index.reshape(-1, 3).astype(float))


def ball(geometry: Geometry, centre_mm: Any, radius_mm: Any) -> np.ndarray:
    """A ball with a soft rim, (z, y, x) float32 in 0..1."""
    distance = np.linalg.norm(positions(geometry) - centre_mm, axis=1).reshape(geometry.shape)
    return np.clip(radius_mm - distance + 0.5, 0, 1).astype(np.float32)


def centroid(geometry: Geometry, weights: Any) -> Any:
    """Weighted centre (x, y, z) mm."""
    return (positions(geometry) * weights.reshape(-1, 1)).sum(axis=0) / weights.sum()


@pytest.mark.parametrize(("order", "signs"), TURNS)
def test_every_way_to_lie_becomes_axial_and_comes_back_bit_for_bit(order: Any, signs: Any) -> None:
    # Arrange
    source = grid((3, 4, 5), order, signs, spacing=(1.0, 1.0, 1.0))
    values = np.random.default_rng(0).random(source.shape, dtype=np.float32)
    way = WorkingGrid.of(source)

    # Act
    working = way.to_working(Volume(values, source, "CT"))
    back = way.to_source(working.intensities > 0.5)

    # Assert
    assert axis_codes(way.working) == "SPL"
    assert not way.resamples
    np.testing.assert_array_equal(back.voxels, values > 0.5)
    assert back.geometry is source
    for index in [(0, 0, 0), (2, 3, 4), (1, 2, 3)]:
        place = source.to_patient_mm(np.array([index], dtype=float))
        to_index = np.linalg.inv(way.working.affine_zyx_to_lps)
        z, y, x = np.rint(to_index @ [*place[0], 1.0]).astype(int)[:3]
        assert working.intensities[z, y, x] == values[index]


def test_common_axial_ct_is_passed_through_untouched() -> None:
    # Arrange
    source = grid((4, 6, 6), spacing=(3.0, 0.7, 0.7))
    volume = Volume(np.zeros(source.shape, dtype=np.float32), source, "CT")
    way = WorkingGrid.of(source)

    # Act, Assert
    assert way.is_identity
    assert way.to_working(volume) is volume
    voxels = np.ones(source.shape, dtype=bool)
    assert way.to_source(voxels).voxels is voxels


def test_rows_run_front_to_back_columns_right_to_left_slices_feet_to_head() -> None:
    """A feet-last, mirrored, upside-down series: its first voxel is the working grid's last."""
    # Arrange
    source = grid((3, 4, 4), signs=(-1, -1, -1))
    values = np.zeros(source.shape, dtype=np.float32)
    values[0, 0, 0] = 1

    # Act
    working = WorkingGrid.of(source).to_working(Volume(values, source, "CT"))

    # Assert
    assert axis_codes(source) == "IAR"
    assert working.intensities[2, 3, 3] == 1


@settings(max_examples=60, deadline=None)
@given(
    turn=st.sampled_from(TURNS),
    spacing=st.tuples(st.floats(1.0, 3.0), st.floats(0.5, 1.5), st.floats(0.5, 1.5)),
    turn_deg=st.tuples(*[st.floats(-20, 20)] * 3),
    slice_step_mm=st.sampled_from([0.0, 2.0]),
)
def test_a_ball_stays_where_it_is_in_the_patient(
    turn: Any, spacing: Any, turn_deg: Any, slice_step_mm: Any
) -> None:
    # Arrange
    depth, rows, columns = (round(26 / mm) for mm in spacing)
    shape = depth, rows, columns
    order, signs = turn
    source = grid(shape, order, signs, spacing, turn_deg)
    middle = source.to_patient_mm((np.array([shape]) - 1) / 2)[0] + (0.7, -0.4, 0.9)
    truth = ball(source, middle, 9.0)
    way = WorkingGrid.of(source, slice_step_mm=slice_step_mm)

    # Act
    working = way.to_working(Volume(truth, source, "MR"))
    back = way.to_source(working.intensities > 0.5)

    # Assert
    _, y, x = working.geometry.spacing_mm
    assert y == pytest.approx(x, rel=0.006)
    moved = centroid(working.geometry, working.intensities) - centroid(source, truth)
    assert np.abs(moved).max() < min(spacing) / 2
    assert back.geometry is source
    assert back.voxels.shape == shape
    moved = centroid(source, back.voxels.astype(float)) - centroid(source, truth)
    assert np.abs(moved).max() < max(*spacing, slice_step_mm) / 2
    overlap = np.count_nonzero(back.voxels & (truth > 0.5))
    assert 2 * overlap / (np.count_nonzero(back.voxels) + np.count_nonzero(truth > 0.5)) > 0.85


def test_pixels_become_square_at_the_finer_side_over_the_same_field_of_view() -> None:
    # Arrange
    source = grid((10, 20, 60), spacing=(5.0, 1.5, 0.5))

    # Act
    way = WorkingGrid.of(source)

    # Assert
    assert way.resamples
    assert way.working.shape == (10, 60, 60)
    assert way.working.spacing_mm == pytest.approx((5.0, 0.5, 0.5))
    # first centre along y: the edge at -0.75 mm from the first source centre, plus half a new pixel
    first = way.working.to_patient_mm(np.zeros((1, 3))) - source.to_patient_mm(np.zeros((1, 3)))
    np.testing.assert_allclose(first[0], (0.0, -0.5, 0.0), atol=1e-9)


def test_thin_slices_are_merged_by_a_whole_factor() -> None:
    source = grid((40, 8, 8), spacing=(0.6, 1.0, 1.0))

    way = WorkingGrid.of(source, slice_step_mm=1.5)

    assert way.working.shape == (13, 8, 8)
    assert way.working.spacing_mm[0] == pytest.approx(1.8)
    assert WorkingGrid.of(source).working.shape == (40, 8, 8)


def test_a_constant_volume_stays_constant_to_its_edges() -> None:
    source = grid((6, 9, 30), spacing=(2.0, 1.7, 0.5))
    way = WorkingGrid.of(source)

    working = way.to_working(Volume(np.full(source.shape, 40, np.float32), source, "CT"))

    np.testing.assert_allclose(working.intensities, 40, rtol=1e-5)
    assert way.to_source(np.ones(way.working.shape, dtype=bool)).voxels.all()


def test_a_soft_mask_is_cut_at_one_half() -> None:
    source = grid((2, 3, 3))
    soft = np.array([0.5, 0.51] * 9, dtype=np.float32).reshape(2, 3, 3)

    mask = WorkingGrid.of(source).to_source(soft)

    np.testing.assert_array_equal(mask.voxels, soft > 0.5)


def test_a_lone_image_that_is_not_axial_is_worked_on_as_it_is() -> None:
    source = grid((1, 12, 9), order=(0, 2, 1), signs=(1, -1, 1), spacing=(4.0, 0.5, 0.5))

    way = WorkingGrid.of(source)

    assert axis_codes(source) == "LIP"
    assert way.is_identity


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 5, 4)])
def test_what_is_on_another_grid_is_refused(shape: tuple[int, int, int]) -> None:
    way = WorkingGrid.of(grid((3, 4, 5), signs=(1, -1, 1)))
    other = grid(shape)

    with pytest.raises(ValueError, match="not on the grid"):
        way.to_working(Volume(np.zeros(shape, np.float32), other, "CT"))
    with pytest.raises(ValueError, match="not on the grid"):
        way.to_source(np.zeros(shape, dtype=bool))
