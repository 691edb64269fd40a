"""The lungs' rule, on a chest drawn by hand; column 0 is the patient's right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.policies.locator.knowledge import lung_map
from models.policies.locator.structures import KNOWN, LEFT_LUNG, RIGHT_LUNG


def chest(*, vessels: bool = True) -> NDArray[np.float32]:
    """A windowed slice: body, two lungs of different size, and bright dots for vessels."""
    y, x = np.mgrid[:128, :160]
    image = np.zeros((128, 160), dtype=np.float32)
    image[((y - 64) / 50) ** 2 + ((x - 80) / 70) ** 2 < 1] = 0.5
    image[_right()] = 0
    image[((y - 64) / 30) ** 2 + ((x - 115) / 20) ** 2 < 1] = 0
    if vessels:
        for row in range(48, 84, 8):
            for column in (40, 48, 110, 118):
                image[row : row + 2, column : column + 2] = 0.6
    return image


def _right() -> NDArray[np.bool_]:
    y, x = np.mgrid[:128, :160]
    return np.asarray(((y - 64) / 34) ** 2 + ((x - 45) / 22) ** 2 < 1)


def test_each_lung_lies_on_its_side() -> None:
    image = chest()

    right, left = lung_map(image, RIGHT_LUNG), lung_map(image, LEFT_LUNG)

    assert right[64, 45] == 1
    assert left[64, 115] == 1
    assert not (right * left).any()
    assert right[:, 80:].sum() == 0
    assert left[:, :80].sum() == 0


def test_vessels_belong_to_the_lung() -> None:
    right = lung_map(chest(), RIGHT_LUNG) > 0.5

    overlap = np.count_nonzero(right & _right())

    assert 2 * overlap / (right.sum() + _right().sum()) > 0.95


def test_gas_without_vessels_is_no_lung() -> None:
    assert not lung_map(chest(vessels=False), LEFT_LUNG).any()


def test_air_outside_is_no_lung() -> None:
    assert not lung_map(np.zeros((64, 64), dtype=np.float32), RIGHT_LUNG).any()


def test_thirteen_organs_and_two_lungs_are_known() -> None:
    assert len(KNOWN) == 15
    assert len(set(KNOWN)) == 15
