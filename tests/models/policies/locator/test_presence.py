"""From maps to an answer: is it there, and where is it best drawn?"""

from __future__ import annotations

import numpy as np
import pytest

from models.policies.locator.presence import (
    area_px,
    coarse_step,
    key_slices,
    least_area_px,
    near,
    presence,
)


def test_areas_are_counted_in_the_models_pixels() -> None:
    expected = np.zeros((512, 512), dtype=np.float32)
    expected[:40, :40] = 0.8

    assert area_px(expected) == 400


def test_presence_rises_with_the_area_and_is_even_at_the_least_area_believed() -> None:
    areas = [0, 5, 40, 90, 4000]

    likely = [presence("aorta", area, alone=False) for area in areas]

    assert likely == sorted(likely)
    assert likely[2] == pytest.approx(0.5)
    assert likely[0] < 0.05
    assert likely[-1] > 0.99


@pytest.mark.parametrize(
    ("structure", "among_others", "alone"),
    [
        ("left_kidney", 60, 250),
        ("aorta", 40, 60),
        ("right_adrenal_gland", 25, 25),
    ],
)
def test_a_lone_slice_must_show_more_of_a_large_organ(
    structure: str, among_others: float, alone: float
) -> None:
    assert least_area_px(structure, alone=False) == among_others
    assert least_area_px(structure, alone=True) == alone


def test_a_tip_is_believed_among_other_slices_and_not_alone() -> None:
    tip = 150.0

    assert presence("spleen", tip, alone=False) > 0.5
    assert presence("spleen", tip, alone=True) < 0.5


@pytest.mark.parametrize(
    ("step_mm", "step"), [(5.0, 1), (3.5, 1), (3.0, 2), (2.0, 3), (1.0, 3), (0.5, 3)]
)
def test_a_coarse_look_meets_whatever_is_thick_enough_to_be_believed(
    step_mm: float, step: int
) -> None:
    assert coarse_step(step_mm) == step


def test_what_lies_near_stays_within_the_volume() -> None:
    assert near([0, 8], 2, 10) == {0, 1, 2, 6, 7, 8, 9}
    assert near([], 2, 10) == set()


def test_one_slice_of_many_is_looked_at_where_no_stretch_is_long_enough() -> None:
    likely = (0.1, 0.1, 0.9, 0.1, 0.1, 0.1)

    assert key_slices(likely, (0, 0, 50, 0, 0, 0), step_mm=2.0) == (2,)
    assert key_slices((0.49,) * 6, (50,) * 6, step_mm=2.0) == ()


def test_a_short_stretch_gives_way_to_one_that_is_long_enough() -> None:
    likely = (0.9, 0.1, 0.1, 0.6, 0.6, 0.6)

    assert set(key_slices(likely, (900, 0, 0, 50, 50, 50), step_mm=2.0)) <= {3, 4, 5}


def test_three_slices_of_two_millimetres_are() -> None:
    likely = (0.1, 0.8, 0.9, 0.8, 0.1, 0.1)

    assert key_slices(likely, (0, 40, 50, 40, 0, 0), step_mm=2.0)[0] == 2


def test_a_lone_slice_stands_for_itself() -> None:
    assert key_slices((0.9,), (50.0,), step_mm=1.0) == (0,)
    assert key_slices((0.4,), (50.0,), step_mm=1.0) == ()


def test_further_key_slices_lie_apart() -> None:
    likely = (0.9,) * 30
    areas = tuple(100.0 + z for z in range(30))

    keys = key_slices(likely, areas, step_mm=3.0)

    assert keys[0] == 29
    assert len(keys) == 3
    assert min(abs(a - b) for a in keys for b in keys if a != b) >= 10
