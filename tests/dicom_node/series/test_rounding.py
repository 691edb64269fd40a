"""Positions that a scanner rounded are put back in their places.

What rounding does not explain is refused as before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.errors import NotAVolume
from dicom_node.series.geometry import Stack, arrange
from dicom_node.series.plane import Plane
from dicom_node.series.rounding import Rounding, even_line, places_at
from dicom_node.values import SourceFrame

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.9361168, 0.2896295, -0.1996, -0.3080306, 0.9489847, -0.0676, 0.0, 0.0, 0.0)[:6]


def stack(
    positions: list[tuple[float, ...]],
    orientation: tuple[float, ...] = AXIAL,
    numbers: list[int] | None = None,
    **values: Any,
) -> Stack:
    planes = [
        Plane(
            source=SourceFrame(Path(f"{n}.dcm"), "", f"1.{n}", number),
            position_mm=position,
            orientation=orientation,
            pixel_spacing_mm=(1.0, 1.0),
            shape=(3, 4),
            **values,
        )
        for n, (number, position) in enumerate(
            zip(numbers or range(1, len(positions) + 1), positions, strict=True)
        )
    ]
    return arrange(planes)


def axial(
    step: float, decimals: int, count: int = 12, first: float = -21.0, skip: tuple[int, ...] = ()
) -> list[tuple[float, ...]]:
    return [
        (-176.25, -156.0, round(first + step * n, decimals)) for n in range(count) if n not in skip
    ]


def oblique(
    step: float, decimals: int, count: int = 12, skip: tuple[int, ...] = ()
) -> list[tuple[float, ...]]:
    row, column = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
    normal = np.cross(row, column) / np.linalg.norm(np.cross(row, column))
    return [
        tuple(np.round((-150.3, -120.7, -40.1) + step * n * normal, decimals).tolist())
        for n in range(count)
        if n not in skip
    ]


@pytest.mark.parametrize("step", [0.625, 1.25, 1.75, 0.7, 2.5])
@pytest.mark.parametrize("first", [-21.0, -20.3])
@pytest.mark.parametrize("count", [5, 12, 200])
@pytest.mark.parametrize("thickness", ["the step", 5.0, None])
def test_tenths(step: float, first: float, count: int, thickness: Any) -> None:
    thick = step if thickness == "the step" else thickness

    found = stack(axial(step, 1, count, first), slice_thickness_mm=thick).affine_zyx_to_lps

    assert found[2, 0] == pytest.approx(step, abs=0.1 / (count - 1))
    assert found[2, 3] == pytest.approx(first, abs=0.05)


@pytest.mark.parametrize("step", [1.25, 1.75, 2.5, 3.3])
@pytest.mark.parametrize("first", [-21.0, -20.3])
@pytest.mark.parametrize("count", [8, 12, 60])
def test_whole_millimetres(step: float, first: float, count: int) -> None:
    found = stack(axial(step, 0, count, first), slice_thickness_mm=step).affine_zyx_to_lps

    # the declared step, which is finer than any line through the positions
    assert found[:3, 0] == pytest.approx((0, 0, step))
    assert found[2, 3] == pytest.approx(first, abs=0.5)


def test_whole_millimetres_without_a_declared_step_go_by_the_numbers() -> None:
    assert stack(axial(1.25, 0, 40)).affine_zyx_to_lps[2, 0] == pytest.approx(1.25, abs=0.02)
    with pytest.raises(NotAVolume):
        stack(axial(1.25, 0, 40, skip=(20,)), numbers=[n for n in range(40) if n != 20])


def test_whole_millimetres_of_overlapping_slices_go_by_their_numbers() -> None:
    assert stack(axial(1.25, 0), slice_thickness_mm=2.5).shape[0] == 12
    with pytest.raises(NotAVolume):
        stack(
            axial(1.25, 0, 13, skip=(6,)),
            numbers=[*range(1, 7), *range(8, 14)],
            slice_thickness_mm=2.5,
        )


@pytest.mark.parametrize(
    ("step", "decimals"), [(0.625, 1), (1.25, 1), (1.25, 0), (1.75, 0), (5.0, 0)]
)
def test_oblique(step: float, decimals: int) -> None:
    found = stack(oblique(step, decimals), OBLIQUE, slice_thickness_mm=step)

    assert np.linalg.norm(found.affine_zyx_to_lps[:3, 0]) == pytest.approx(
        step, abs=0.2 * 10.0**-decimals
    )


@pytest.mark.parametrize("step", [0.625, 1.25, 1.75])
@pytest.mark.parametrize("missing", [1, 5, 10])
@pytest.mark.parametrize("decimals", [0, 1])
@pytest.mark.parametrize("renumbered", [True, False])
def test_a_slice_that_is_missing_is_missed(
    step: float, missing: int, decimals: int, renumbered: bool
) -> None:
    if step < 1 and decimals == 0:
        pytest.skip("several slices at one position")
    numbers = None if renumbered else [n + 1 for n in range(12) if n != missing]

    with pytest.raises(NotAVolume, match="1 slice is missing"):
        stack(axial(step, decimals, skip=(missing,)), numbers=numbers, slice_thickness_mm=step)


@pytest.mark.parametrize("decimals", [0, 1])
def test_a_slice_that_is_missing_from_an_oblique_series(decimals: int) -> None:
    with pytest.raises(NotAVolume, match=r"missing|uneven"):
        stack(oblique(1.75, decimals, 16, skip=(7,)), OBLIQUE, slice_thickness_mm=1.75)


@pytest.mark.parametrize(
    "heights",
    [
        [0, 5, 10, 16, 20, 25],  # even steps of 5 mm would have been written without a difference
        [0, 1.08, 5.08, 12.08],
        [0, 3, 6, 9.4, 12, 15],
        [0, 2, 4, 7, 9, 11],
    ],
)
def test_what_rounding_does_not_explain(heights: list[float]) -> None:
    with pytest.raises(NotAVolume, match="uneven"):
        stack([(0.0, 0.0, float(z)) for z in heights], slice_thickness_mm=5.0)


def test_positions_coarser_than_the_step_are_named() -> None:
    with pytest.raises(
        NotAVolume, match=r"written to 1 mm, more coarsely than the slices lie apart \(0\.625 mm\)"
    ):
        stack(axial(0.625, 0), slice_thickness_mm=0.625)


def test_units_of_positions() -> None:
    positions = np.array([(-176.25, 1.5, 0.0), (-176.25, 2.0, 1.0), (-176.25, 2.1234, 2.0)])

    assert Rounding.of(positions).half_units_mm == pytest.approx([0.0, 0.0, 0.5])


def test_the_line_with_even_steps() -> None:
    assert even_line(np.array([0.0, 1.0, 3.0, 4.0])) == pytest.approx((1.5, 0.5 / 2), abs=1e-6)


def test_places() -> None:
    heights = np.array(
        [0.0, 1.0, 2.0, 4.0, 5.0, 8.0]
    )  # 1.25 mm apart in whole millimetres; the sixth is missing

    places = places_at(heights, 1.25, 0.5)
    assert places is not None
    assert places.tolist() == [0, 1, 2, 3, 4, 6]
    assert places_at(heights, 3.0, 0.5) is None
