"""A place in the patient belongs to the slice it lies in, or to none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.annotations.slices_of import SlicesOf
from dicom_node.errors import UnusableAnnotation
from dicom_node.values import SourceVolume
from tests.support import phantoms


@pytest.fixture(params=["axial", "coronal", "oblique"])
def volume(request: pytest.FixtureRequest, tmp_path: Path, volume_of: Any) -> SourceVolume:
    return volume_of(
        phantoms.torso_ct(
            tmp_path / "ct", shape=(5, 20, 24), orientation=request.param, spacing_mm=(5, 4, 3)
        )
    )


def at(volume: Any, *indices: Any) -> Any:
    """Voxel indices (z, y, x) in the patient."""
    points = np.array([(*index, 1.0) for index in indices])
    return (points @ volume.affine_zyx_to_lps.T)[:, :3]


def test_points_of_a_slice_are_found_on_it(volume: SourceVolume) -> None:
    slices = SlicesOf(volume)
    points = at(volume, (3, 0, 0), (3, 19, 2.5), (3, 7.25, 23))

    assert slices.slice_at(points) == 3
    np.testing.assert_allclose(
        slices.rows_and_columns(points, 3),
        np.array([[0.0, 0.0], [19.0, 2.5], [7.25, 23.0]]),
        atol=1e-3,
    )


@pytest.mark.parametrize("points", [[(3.1, 0, 0)], [(3, 0, 0), (3.1, 5, 5)], [(5, 0, 0)]])
def test_points_off_the_slices_are_refused(volume: SourceVolume, points: Any) -> None:
    with pytest.raises(UnusableAnnotation, match="off the nearest slice"):
        SlicesOf(volume).slice_at(at(volume, *points))


def test_a_hundredth_of_a_step_is_rounding(volume: SourceVolume) -> None:
    assert SlicesOf(volume).slice_at(at(volume, (2.008, 3, 3))) == 2


def test_a_plane_that_is_turned_by_a_quarter_falls_on_the_same_pixels(volume: SourceVolume) -> None:
    origin, down, across = at(volume, (1, 2, 3), (1, 3, 3), (1, 2, 4))
    mask = np.zeros((4, 3), dtype=bool)
    mask[3, 1] = True
    voxels = np.zeros((5, 20, 24), dtype=bool)

    # its rows run along the slice's columns
    turned = np.stack([origin, across - origin, down - origin], axis=1)
    SlicesOf(volume).place(mask, turned, voxels)

    assert np.argwhere(voxels).tolist() == [[1, 2 + 1, 3 + 3]]
