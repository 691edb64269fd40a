"""How an image is shown: CT through a window, what was windowed as it is, all else by percentiles,
and a window that was asked for before them all.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.images.presentation import Presentation
from models.images.windows import ABDOMEN, LUNG, window_from

PIXELS = np.linspace(0, 1000, 64 * 64, dtype=np.float32).reshape(64, 64)


@pytest.fixture
def windowed() -> NDArray[np.float32]:
    """A picture in 8 bits whose air and bone were clipped."""
    pixels = np.full((64, 64), 120, np.float32)
    pixels[:20], pixels[60:] = 0, 255
    return pixels


def test_a_window_that_is_asked_for_is_in_stored_values_outside_ct() -> None:
    scale, words = Presentation(PIXELS, "MR").shown(ABDOMEN, window_from("100..300"))

    assert (scale.low, scale.high) == (100.0, 300.0)
    assert words == "MR 100..300 (as asked)"


def test_a_window_that_is_asked_for_goes_before_the_structures_in_ct() -> None:
    presentation = Presentation(PIXELS, "CT")

    asked, words = presentation.shown(LUNG, window_from("40/400"))

    assert asked == presentation.shown(ABDOMEN)[0]
    assert asked != presentation.shown(LUNG)[0]
    assert words.startswith("asked for -160..240 HU")


def test_what_was_windowed_before_refuses_another_window(windowed: NDArray[np.float32]) -> None:
    presentation = Presentation(windowed, "CT")

    assert presentation.shown(LUNG)[1] == "CT as it was windowed before, 0..255"
    with pytest.raises(ValueError, match=r"windowed before .*: leave the window out"):
        presentation.shown(LUNG, window_from("40/400"))


def test_colour_refuses_a_window() -> None:
    with pytest.raises(ValueError, match="colour has no window"):
        Presentation(PIXELS, "XC", in_colour=True).shown(ABDOMEN, window_from("0..10"))
