"""A case holds an image and truths that fit it."""

from __future__ import annotations

import numpy as np
import pytest

from agent.case import Case, Truth
from agent.geometry import Geometry
from agent.values import Target, Volume


def case_of(*truths: Truth) -> Case:
    volume = Volume(np.zeros((2, 3, 4), np.float32), Geometry((2, 3, 4), np.eye(4)), "CT")
    return Case("one", "p1", "toy", "train", volume, truths)


def test_a_truth_without_a_voxel_says_that_the_structure_is_absent() -> None:
    voxels = np.zeros((2, 3, 4), bool)
    assert Truth(Target("liver"), voxels).absent
    voxels[1, 2, 3] = True
    assert not Truth(Target("liver"), voxels).absent


def test_a_truth_of_another_shape_is_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"one: the truth of liver is \(2, 3, 5\), the image"):
        case_of(Truth(Target("liver"), np.zeros((2, 3, 5), bool)))


def test_a_corrected_mask_of_another_shape_is_refused_too() -> None:
    voxels = np.zeros((2, 3, 4), bool)
    with pytest.raises(ValueError, match=r"liver is \(1, 3, 4\)"):
        case_of(Truth(Target("liver"), voxels, corrected_from=voxels[:1]))


def test_a_structure_with_two_truths_is_refused() -> None:
    truth = Truth(Target("liver"), np.zeros((2, 3, 4), bool))
    with pytest.raises(ValueError, match="two truths"):
        case_of(truth, truth)
