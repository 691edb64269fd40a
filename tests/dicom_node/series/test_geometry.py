"""The rules of a regular stack, on planes made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.errors import NotAVolume
from dicom_node.series.geometry import angle_deg, arrange, even_tolerance_mm, same_orientation
from dicom_node.series.plane import Plane, named, ranges
from dicom_node.values import SourceFrame

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plane(
    number: Any,
    position: Any,
    orientation: Any = AXIAL,
    frame_number: Any | None = None,
    uid: str = "1.2",
    **values: Any,
) -> Plane:
    source = SourceFrame(
        Path("a.dcm" if frame_number else f"{number}.dcm"), "", uid, number, frame_number
    )
    return Plane(
        source=source,
        position_mm=position,
        orientation=orientation,
        pixel_spacing_mm=(0.7, 0.5),
        shape=(3, 4),
        **values,
    )


def test_the_affine_written_out() -> None:
    # sagittal: rows run to the back (+y), columns to the feet (-z), so the normal is y x -z = -x,
    # to the right
    sagittal = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    left, right = (
        plane(1, (10.0, -50.0, 80.0), sagittal),
        plane(2, (7.0, -50.0, 80.0), sagittal),
    )

    stack = arrange([right, left])

    assert [p.source.instance_number for p in stack.planes] == [1, 2]
    assert stack.shape == (2, 3, 4)
    assert np.allclose(
        stack.affine_zyx_to_lps,
        [  # z       y     x
            [-3.0, 0.0, 0.0, 10.0],
            [0.0, 0.0, 0.5, -50.0],
            [0.0, -0.7, 0.0, 80.0],
            [0.0, 0.0, 0.0, 1.0],
        ],
    )


def test_pixel_spacing_is_between_rows_then_columns() -> None:
    affine = arrange([plane(1, (0, 0, 0)), plane(2, (0, 0, 2))]).affine_zyx_to_lps

    assert tuple(affine[:3, 1]) == (0, 0.7, 0)  # one row down
    assert tuple(affine[:3, 2]) == (0.5, 0, 0)  # one column on


@pytest.mark.parametrize(
    ("step_mm", "tolerance_mm"),
    [(10.0, 0.5), (5.0, 0.25), (2.0, 0.1), (1.0, 0.1), (0.5, 0.1), (0.3, 0.06)],
)
def test_how_even_steps_must_be(step_mm: float, tolerance_mm: float) -> None:
    assert even_tolerance_mm(step_mm) == pytest.approx(tolerance_mm)


@pytest.mark.parametrize("off_mm", [0.2, -0.2])
def test_just_even_enough(off_mm: float) -> None:
    arrange([plane(n, (0, 0, 5.0 * n + (off_mm if n == 3 else 0))) for n in range(7)])


@pytest.mark.parametrize("off_mm", [0.3, -0.3])
def test_not_even_enough(off_mm: float) -> None:
    planes = [plane(n, (0, 0, 5.0 * n + (off_mm if n == 3 else 0))) for n in range(7)]

    with pytest.raises(NotAVolume, match="between instance 2 and instance 3"):
        arrange(planes)


def test_even_steps_that_add_up_to_a_wrong_place() -> None:
    steps = [4.85] * 10 + [5.15] * 10  # each within a quarter millimetre; the middle is 1.5 mm off
    planes = [plane(n, (0, 0, sum(steps[:n]))) for n in range(21)]

    with pytest.raises(NotAVolume, match=r"unevenly spaced, 4\.85 to 5\.15 mm"):
        arrange(planes)


@pytest.mark.parametrize(("degrees", "refused"), [(0.4, False), (0.6, True), (30.0, True)])
def test_how_much_tilt_is_tilt(degrees: float, refused: bool) -> None:
    shear = np.tan(np.deg2rad(degrees))
    planes = [plane(n, (0, shear * 2.0 * n, 2.0 * n)) for n in range(20)]

    if refused:
        with pytest.raises(NotAVolume, match=f"{degrees:.1f} degrees"):
            arrange(planes)
    else:
        affine = arrange(planes).affine_zyx_to_lps
        assert np.allclose(affine[:3, 0], (0, shear * 2.0, 2.0))  # the shear is in the affine


def test_a_slice_moved_sideways_is_found_where_it_is() -> None:
    planes = [plane(n, (3.0 if n == 4 else 0.0, 0, 2.0 * n)) for n in range(10)]

    with pytest.raises(NotAVolume) as caught:
        arrange(planes)

    assert "3.00 mm between instance 3 and instance 4" in str(caught.value)
    assert "3.00 mm between instance 4 and instance 5" in str(caught.value)


def test_slices_rounded_to_tenths_are_a_volume() -> None:
    planes = [plane(n, (0, 0, round(1.25 * n, 1))) for n in range(41)]

    assert arrange(planes).affine_zyx_to_lps[2, 0] == pytest.approx(1.25, abs=5e-4)


def test_angles() -> None:
    assert angle_deg(np.array([1.0, 0, 0]), np.array([0, 1.0, 0])) == pytest.approx(90)
    assert angle_deg(np.array([1.0, 0, 0]), np.array([-1.0, 0, 0])) == pytest.approx(180)
    assert angle_deg(np.array([1.0, 0, 0]), np.array([1.0, 1e-5, 0])) == pytest.approx(
        5.73e-4, rel=1e-3
    )


def test_orientations_that_differ_by_rounding_are_one() -> None:
    one = plane(1, (0, 0, 0), (0.999998, 0.002, 0, -0.002, 0.999998, 0))
    rounded = plane(2, (0, 0, 5), (1, 0.002, 0, -0.002, 1, 0))
    turned = plane(3, (0, 0, 10), (0.99998, 0.006, 0, -0.006, 0.99998, 0))

    assert same_orientation(one, rounded)
    assert not same_orientation(one, turned)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([1], "1"),
        ([2, 1], "1, 2"),
        ([1, 2, 3], "1-3"),
        ([5, 1, 2, 3, 9, 3], "1-3, 5, 9"),
        (range(1, 100, 2), "1, 3, 5, 7, 9, 11, 13, 15 and 42 more"),
    ],
)
def test_numbers_as_ranges(numbers: Any, text: str) -> None:
    assert ranges(numbers) == text


def test_how_images_are_named() -> None:
    at = (0.0, 0.0, 0.0)

    assert named([plane(3, at)]) == "instance 3"
    assert named([plane(3, at), plane(1, at)]) == "instances 1, 3"
    assert named([plane(None, at)]) == "an instance without a number (1.2)"
    assert named([plane(None, at, uid="")]) == "an instance without a number (None.dcm)"
    assert (
        named([plane(4, at), plane(None, at)])
        == "instance 4 and an instance without a number (1.2)"
    )
    assert named([plane(1, at, frame_number=n) for n in (2, 3, 4)]) == "frames 2-4 of instance 1"
