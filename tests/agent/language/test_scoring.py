"""The score of a mask is one function for serving, training and evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from agent.fakes import ArraySlices, FakeSegmenter, segmentation
from agent.language.fakes import ScriptedChat
from agent.language.policy import LanguagePolicy
from agent.language.scoring import mask_score
from agent.language.settings import LanguageSettings
from agent.ports import Observation
from agent.values import Role, Segmentation, Target


@pytest.fixture
def observation() -> Observation:
    volume = ArraySlices(np.zeros((1, 4, 4), np.float32), FakeSegmenter())
    carried = np.zeros((4, 4), bool)
    carried[:2] = True
    return Observation(Target("bile"), volume, 0, Role.CARRY, carried=carried)


def test_prediction_stability_and_neighbour_are_weighed_by_hand(observation: Observation) -> None:
    mask = np.ones((4, 4), bool)
    # 4 logits above 1, 8 above -1: stability 0.5; with 0.9 predicted the own score is 0.7;
    # Dice with the neighbour's half 2 * 8 / 24; a quarter of it counts
    logits = np.array([[3] * 4, [0.5] * 4, [-3] * 4], np.float32)

    score = mask_score(observation, Segmentation(mask, logits, 0.9))

    assert score == pytest.approx(0.75 * 0.7 + 0.25 * 16 / 24)


def test_the_policy_that_serves_scores_with_it(observation: Observation) -> None:
    policy = LanguagePolicy(ScriptedChat([]), LanguageSettings())
    drawn = segmentation(np.ones((4, 4), bool), 0.3)

    assert policy.score(observation, drawn) == mask_score(observation, drawn)
