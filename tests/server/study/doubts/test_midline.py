"""The halves of the body, by the body's own middle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.values import SourceVolume
from dicom_node.voxels import Voxels
from server.study.doubts.midline import share_left

# columns run to the patient's left in steps of 10 mm, rows to the back, slices up
AFFINE = np.array([[0, 0, 10, -200], [0, 10, 0, 0], [10, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
SHAPE = (10, 30, 40)


def volume(*bodies: tuple[slice, slice]) -> SourceVolume:
    """Water in air, at these slices and columns."""
    hu = np.full(SHAPE, -1000.0, dtype=np.float32)
    for slices, columns in bodies:
        hu[slices, 5:25, columns] = 40.0
    return SourceVolume(hu, AFFINE, (), "", "", "", "CT")


def mask(slices: slice, columns: slice) -> Voxels:
    inside = np.zeros(SHAPE, dtype=np.bool_)
    inside[slices, 10:12, columns] = True
    return Voxels.of(inside)


ALL = slice(None)


@pytest.mark.parametrize(
    ("columns", "share"), [(slice(15, 18), 1.0), (slice(8, 12), 0.0), (slice(12, 16), 0.5)]
)
def test_the_middle_is_that_of_the_body_and_not_of_the_view(columns: slice, share: float) -> None:
    assert share_left(mask(ALL, columns), volume((ALL, slice(6, 22)))) == share


def test_the_body_counts_at_the_height_of_the_mask() -> None:
    # the hips lie 100 mm further to the left than the chest
    leaning = volume((slice(0, 5), slice(14, 30)), (slice(5, 10), slice(4, 20)))

    assert share_left(mask(slice(0, 3), slice(17, 20)), leaning) == 0.0
    assert share_left(mask(slice(7, 9), slice(17, 20)), leaning) == 1.0


def test_an_arm_or_a_table_beside_the_body_does_not_count() -> None:
    beside = volume((ALL, slice(4, 20)), (ALL, slice(30, 36)))

    assert share_left(mask(ALL, slice(14, 16)), beside) == 1.0


@pytest.mark.parametrize("columns", [slice(0, 20), slice(20, 40)])
def test_a_body_that_the_view_cuts_at_a_side_has_no_known_middle(columns: slice) -> None:
    assert share_left(mask(ALL, slice(25, 27)), volume((ALL, columns))) is None


def test_nothing_is_known_without_a_body_a_place_or_a_surface() -> None:
    inside, body = mask(ALL, slice(15, 18)), volume((ALL, slice(6, 22)))

    assert share_left(inside, volume()) is None
    assert share_left(inside, replace(body, single_image=True)) is None
    assert share_left(inside, replace(body, modality="PT")) is None


def test_the_unit_of_mr_is_not_needed() -> None:
    body = volume((ALL, slice(6, 22)))
    grey = np.where(body.intensities > 0, 700.0, 12.0).astype(np.float32)

    assert share_left(mask(ALL, slice(15, 18)), replace(body, modality="MR", intensities=grey)) == 1
