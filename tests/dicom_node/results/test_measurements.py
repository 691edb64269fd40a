"""Volumes and diameters of shapes whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dicom_node.results.measurements import diameters, intensity, volume_ml
from dicom_node.values import ResultSegment, SourceFrame, SourceVolume

Segment = Callable[..., ResultSegment]


def grid(spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]) -> SourceVolume:
    """An axial volume of intensities that count upwards."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([(0, 0, 1), (0, 1, 0), (1, 0, 0)]) * np.array(spacing_mm)
    intensities = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    frames = tuple(SourceFrame(Path("none"), "1.2", f"1.2.{z}", z) for z in range(shape[0]))
    return SourceVolume(intensities, affine, frames, "1.3", "1.4", "1.5", "CT")


def box(shape: tuple[int, int, int], *spans: slice) -> NDArray[np.bool_]:
    """A block of ones."""
    voxels = np.zeros(shape, bool)
    voxels[spans] = True
    return voxels


def disc(size: int, radius: float, squeeze: float = 1.0) -> NDArray[np.bool_]:
    """One slice with a disc, or an ellipse that is `squeeze` times as high."""
    y, x = np.ogrid[:size, :size]
    middle = (size - 1) / 2
    plane: NDArray[np.bool_] = ((y - middle) / squeeze) ** 2 + (x - middle) ** 2 <= radius**2
    return plane[None]


def test_the_volume_of_a_block(segment: Segment) -> None:
    volume = grid((5.0, 0.5, 0.8), (4, 10, 10))
    block = segment("liver", box((4, 10, 10), slice(0, 2), slice(0, 5), slice(0, 10)))

    # 2 x 5 x 10 voxels of 5 x 0.5 x 0.8 mm = 200 mm3
    assert volume_ml(block, volume) == pytest.approx(0.2)


def test_the_volume_on_a_sheared_grid_is_the_determinant(segment: Segment) -> None:
    volume = grid((5.0, 1.0, 1.0), (4, 10, 10))
    volume.affine_zyx_to_lps[:3, 0] = (0.0, 1.5, 5.0)
    block = segment("liver", box((4, 10, 10), slice(0, 4), slice(0, 10), slice(0, 10)))

    assert volume_ml(block, volume) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("rows", "columns", "long_mm", "short_mm"),
    [
        # a single pixel of 2 x 3 mm, from edge to edge
        (slice(4, 5), slice(4, 5), 3.0, 2.0),
        # ten pixels in a row: 30 mm long, one pixel high
        (slice(4, 5), slice(0, 10), 30.0, 2.0),
        # ten pixels in a column: 20 mm
        (slice(0, 10), slice(4, 5), 20.0, 3.0),
    ],
)
def test_lines_are_as_long_as_their_pixels(
    rows: slice, columns: slice, long_mm: float, short_mm: float, segment: Segment
) -> None:
    volume = grid((5.0, 2.0, 3.0), (1, 10, 10))
    line = segment("liver", box((1, 10, 10), slice(0, 1), rows, columns))

    measured = diameters(line, volume)

    assert measured.long_mm == pytest.approx(long_mm)
    assert measured.short_mm == pytest.approx(short_mm)


def test_the_ends_of_lines_are_on_the_outer_edges_of_pixels(segment: Segment) -> None:
    row = segment("liver", box((1, 10, 10), slice(0, 1), slice(4, 5), slice(0, 10)))

    measured = diameters(row, grid((5.0, 2.0, 3.0), (1, 10, 10)))

    # (column, row), 0.0 at the outer corner of the first pixel (PS3.3 C.18.6.1.2)
    assert sorted(measured.long_px.tolist()) == [
        pytest.approx([0.0, 4.5]),
        pytest.approx([10.0, 4.5]),
    ]
    assert sorted(end[1] for end in measured.short_px) == pytest.approx([4.0, 5.0])


def test_a_disc_is_as_long_as_wide(segment: Segment) -> None:
    volume = grid((5.0, 0.5, 0.5), (1, 201, 201))

    measured = diameters(segment("liver", disc(201, 80.0)), volume)

    assert measured.long_mm == pytest.approx(80.5, abs=0.5)
    assert measured.short_mm == pytest.approx(80.5, abs=0.5)


def test_an_ellipse_has_its_two_axes_whatever_the_pixels_are(segment: Segment) -> None:
    # Arrange: 120 x 60 pixels of 1 x 0.5 mm: 60 mm across, 60 mm down; then of 0.5 x 1 mm: 120 x 30
    ellipse = segment("liver", disc(161, 60.0, squeeze=0.5))

    round_ = diameters(ellipse, grid((5.0, 1.0, 0.5), (1, 161, 161)))
    flat = diameters(ellipse, grid((5.0, 0.5, 1.0), (1, 161, 161)))

    assert (round_.long_mm, round_.short_mm) == (pytest.approx(61, abs=1), pytest.approx(61, abs=1))
    assert (flat.long_mm, flat.short_mm) == (pytest.approx(121, abs=1), pytest.approx(30.5, abs=1))


def test_the_short_axis_is_a_chord_and_not_the_width_of_the_box(segment: Segment) -> None:
    # Arrange: a right triangle with legs of 30 and 40 pixels; hypotenuse 50, height on it 24
    rows, columns = np.mgrid[:40, :50]
    triangle = (rows / 30 + columns / 40 < 1)[None]

    measured = diameters(segment("liver", triangle), grid((5.0, 1.0, 1.0), (1, 40, 50)))

    assert measured.long_mm == pytest.approx(50.0, abs=1.0)
    assert measured.short_mm == pytest.approx(24.0, abs=1.0)
    # (column, row) from the right angle to the foot of the height on the hypotenuse
    corner, foot = sorted(measured.short_px.tolist())
    assert corner == pytest.approx([0.0, 0.0], abs=1.0)
    assert foot == pytest.approx([14.4, 19.2], abs=1.0)


def test_the_slice_with_the_largest_area_counts_not_the_longest(segment: Segment) -> None:
    voxels = np.zeros((3, 40, 40), bool)
    voxels[0, 20, :] = True
    voxels[2, 5:15, 5:15] = True

    measured = diameters(segment("liver", voxels), grid((5.0, 1.0, 1.0), (3, 40, 40)))

    assert measured.z == 2
    assert measured.long_mm == pytest.approx(np.hypot(10, 9), abs=0.01)


def test_two_pieces_on_one_slice_are_one_structure(segment: Segment) -> None:
    voxels = np.zeros((1, 40, 40), bool)
    voxels[0, 20, 2] = voxels[0, 20, 31] = True

    assert diameters(
        segment("liver", voxels), grid((5.0, 1.0, 1.0), (1, 40, 40))
    ).long_mm == pytest.approx(30.0)


def test_turning_the_patient_changes_nothing(segment: Segment) -> None:
    straight = grid((5.0, 0.7, 0.9), (1, 161, 161))
    turned = grid((5.0, 0.7, 0.9), (1, 161, 161))
    angle = np.deg2rad(37)
    turn = np.array(
        [(1, 0, 0), (0, np.cos(angle), -np.sin(angle)), (0, np.sin(angle), np.cos(angle))]
    )
    turned.affine_zyx_to_lps[:3, :3] = turn @ turned.affine_zyx_to_lps[:3, :3]
    ellipse = segment("liver", disc(161, 60.0, squeeze=0.4))

    one, other = diameters(ellipse, straight), diameters(ellipse, turned)

    assert (one.long_mm, one.short_mm) == pytest.approx((other.long_mm, other.short_mm))


def test_intensity_is_the_mean_and_deviation_inside(segment: Segment) -> None:
    volume = grid((1.0, 1.0, 1.0), (1, 2, 4))
    row = segment("liver", box((1, 2, 4), slice(0, 1), slice(1, 2), slice(0, 4)))

    # 4, 5, 6, 7
    measured = intensity(row, volume)

    assert measured.mean == pytest.approx(5.5)
    assert measured.standard_deviation == pytest.approx(np.sqrt(1.25))
