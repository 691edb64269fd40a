"""An episode by a script, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from agent.actions import Action
from agent.episode.loop import run_episode
from agent.fakes import ArraySlices, ScriptedPolicy, ScriptedSegmenter
from agent.limits import Limits
from agent.ports import Localisation, Observation, Reply
from agent.turns import Episode, Turn
from agent.values import (
    PromptKind,
    Role,
    Segmentation,
    Target,
)
from tests.support.fixture_types import Clock, PlayEpisode, RunToEnd


@pytest.fixture
def play(run: RunToEnd, clock: Clock) -> PlayEpisode:
    """Run one episode of a script; gives the turns, the episode, the segmenter and the policy."""

    def episode(
        replies: Iterable[Action | Reply],
        answers: Iterable[Segmentation | str] = (),
        *,
        limits: Limits | None = None,
        supported_prompts: frozenset[PromptKind] = frozenset(PromptKind),
        role: Role = Role.KEY,
        **more: Any,
    ) -> tuple[list[Turn], Episode, ScriptedSegmenter, ScriptedPolicy]:
        segmenter = ScriptedSegmenter(answers, supported_prompts)
        slices = ArraySlices(np.zeros((3, 32, 32), dtype=np.float32), segmenter)
        policy = ScriptedPolicy(Localisation((1.0,) * 3, (1,)), {role: replies})
        start_with = {name: more.pop(name) for name in ("latest", "best") if name in more}
        start = Observation(Target("liver"), slices, 1, role, **start_with)
        turns, ended = run(
            run_episode(start, policy, segmenter, limits or Limits(), clock=clock, **more)
        )
        return turns, ended, segmenter, policy

    return episode
