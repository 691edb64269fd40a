"""A slice drawn beside one with a mask, near or further away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.fakes import ArraySlices, ScriptedPolicy
from agent.ports import Localisation
from agent.values import Role
from agent.volume.beside import draw_beside
from agent.volume.target_state import EpisodeConfig, TargetState
from tests.support.agent.box_scripts import LIVER, FillsBoxes, square
from tests.support.fixture_types import RunToEnd


def state_with(said: Any, z: int) -> TargetState:
    """A target with a mask of 10 x 10 on slice 4, whose slice `z` is drawn as `said`."""
    segmenter = FillsBoxes()
    slices = ArraySlices(np.zeros((9, 64, 64), dtype=np.float32), segmenter)
    policy = ScriptedPolicy(Localisation((), (4,)), {(z, Role.CARRY): said})
    state = TargetState(LIVER, slices, EpisodeConfig(policy, segmenter))
    mask = np.zeros((64, 64), dtype=np.bool_)
    mask[10:20, 10:20] = True
    state.put(4, mask, 0.9)
    return state


@pytest.mark.parametrize(("z", "is_kept"), [(5, False), (8, True)])
def test_further_away_it_may_have_grown_by_more(run: RunToEnd, z: int, is_kept: bool) -> None:
    # 19 x 19 has a radius of 10.7: 5.6 * 1.6 + 1 px a slice allow 10.0 on slice 5, 13.0 on slice 8
    state = state_with([square(19)] * 2, z)

    run(draw_beside(state, z, (4, 3)))

    assert (z in state.masks) == is_kept


@pytest.mark.parametrize(("may_come_again", "warnings"), [(False, 1), (True, 0)])
def test_drift_is_said_unless_the_slice_comes_again(
    run: RunToEnd, may_come_again: bool, warnings: int
) -> None:
    state = state_with([square(40), square(41)], 6)

    run(draw_beside(state, 6, (4, 3), may_come_again=may_come_again))

    assert len(state.warnings) == warnings
    assert all("from slice 4" in warning for warning in state.warnings)
