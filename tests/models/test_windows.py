"""Windows: which one a structure gets, and what it does to Hounsfield units."""

from __future__ import annotations

import numpy as np
import pytest

from models.windows import ABDOMEN, WINDOWS, apply_window, window_for


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        ("liver", "liver"),
        ("left_lung", "lung"),
        ("right lung", "lung"),
        ("Brain", "brain"),
        ("spleen", "abdomen"),
        ("vertebra_L3", "bone"),
        ("something nobody heard of", "abdomen"),
        ("", "abdomen"),
        ("slivered almond", "abdomen"),  # words, not letters
    ],
)
def test_each_structure_gets_its_window(structure, name):
    assert window_for(structure) is WINDOWS[name]


def test_the_abdomen_is_level_40_width_400_and_says_so():
    assert (ABDOMEN.low_hu, ABDOMEN.high_hu) == (-160, 240)
    assert str(ABDOMEN) == "abdomen -160..240 HU"


def test_hounsfield_units_become_zero_to_one():
    hounsfield = np.array([-1000, -160, 40, 240, 3000], dtype=np.float32)

    shown = apply_window(hounsfield, ABDOMEN)

    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, [0, 0, 0.5, 1, 1])
