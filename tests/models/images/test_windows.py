"""Windows: which one a structure gets, and how it is laid on a scale that was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.images.normalise import Scale
from models.images.windows import (
    ABDOMEN,
    BONE,
    BRAIN,
    LUNG,
    MEDIASTINUM,
    seen_through,
    window_for,
    window_from,
)


@pytest.mark.parametrize(
    ("structure", "window"),
    [
        ("liver", ABDOMEN),
        ("spleen", ABDOMEN),
        ("left_lung", LUNG),
        ("right lung", LUNG),
        ("Brain", BRAIN),
        ("heart", MEDIASTINUM),
        ("vertebra_L3", BONE),
        ("something nobody heard of", ABDOMEN),
        ("", ABDOMEN),
        ("ribbon", ABDOMEN),  # words, not letters
    ],
)
def test_each_structure_gets_its_window(structure: str, window: Any) -> None:
    assert window_for(structure) == window


def test_the_abdomen_is_level_40_width_400_and_says_so() -> None:
    assert (ABDOMEN.low_hu, ABDOMEN.high_hu) == (-160, 240)
    assert str(ABDOMEN) == "abdomen -160..240 HU"


def test_a_window_on_hounsfield_units_is_itself() -> None:
    hounsfield = np.array([-2000, -1350, -600, 150, 3000], dtype=np.float32)

    shown = seen_through(Scale(-160, 240), LUNG).apply(hounsfield)

    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, [0, 0, 0.5, 1, 1], atol=1e-6)


def test_a_window_on_another_unit_follows_the_measured_scale() -> None:
    """Stored values 10 for -160 HU and 50 for 240 HU: a tenth of a unit per HU."""
    scale = seen_through(Scale(10, 50), BRAIN)

    assert (scale.low, scale.high) == pytest.approx((26, 34))
    assert seen_through(Scale(10, 50), ABDOMEN) == Scale(10, 50)


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("-160..240", (-160, 240)),
        ("-160,240", (-160, 240)),
        ("40/400", (-160, 240)),
        ("lung", (-1350, 150)),
        ("0.5,1.5", (0.5, 1.5)),
    ],
)
def test_a_window_is_written_by_its_ends_its_level_or_its_name(
    text: str, ends: tuple[float, float]
) -> None:
    window = window_from(text)

    assert (window.low_hu, window.high_hu) == ends


@pytest.mark.parametrize("text", ["", "lungs", "1;2", "240,-160", "5,5", "40/-400", "a,b", "1e9,2"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a window"):
        window_from(text)
