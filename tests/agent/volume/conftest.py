"""A target through a volume by a script, for the tests of this folder."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest

from agent.actions import Absent
from agent.fakes import ArraySlices, FakeVolumeSegmenter, ScriptedPolicy
from agent.limits import Limits
from agent.ports import Localisation
from agent.turns import TargetResult, Turn
from agent.values import Role
from agent.volume.order import segment_target
from tests.support.agent.box_scripts import DEPTH, LIVER, FillsBoxes, Script, by_slice
from tests.support.agent.towers import tower
from tests.support.fixture_types import Clock, PlayTarget, RunToEnd


@pytest.fixture
def play(run: RunToEnd, clock: Clock) -> PlayTarget:
    """Segment a scripted target in nine slices of 64 x 64; slices without a script are absent."""

    def target(
        key: Script,
        carry: Script | None = None,
        review: Script | None = None,
        *,
        survey: Localisation | None = None,
        limits: Limits | None = None,
        depth: int = DEPTH,
    ) -> tuple[list[Turn], TargetResult, ScriptedPolicy]:
        segmenter = FillsBoxes()
        slices = ArraySlices(np.zeros((depth, 64, 64), dtype=np.float32), segmenter)
        policy = ScriptedPolicy(
            survey or Localisation((1.0,) * depth, tuple(key)),
            {
                **by_slice(Role.KEY, key),
                **by_slice(Role.CARRY, carry or {}),
                **by_slice(Role.REVIEW, review or {}),
                Role.CARRY: repeat(Absent()),
                Role.REVIEW: repeat(Absent()),
            },
        )
        turns, result = run(
            segment_target(LIVER, slices, policy, segmenter, limits or Limits(), clock=clock)
        )
        return turns, result, policy

    return target


@pytest.fixture
def segmenter() -> FakeVolumeSegmenter:
    return FakeVolumeSegmenter()


@pytest.fixture
def slices(segmenter: FakeVolumeSegmenter) -> ArraySlices:
    return ArraySlices(tower(), segmenter)
