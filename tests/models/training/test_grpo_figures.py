"""What is logged of episodes, and the picture that is drawn of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.actions import Absent, AddBox, Malformed, Stop
from agent.training.episode_facts import EpisodeFacts, TurnFacts
from agent.training.rewards import segnode_reward
from agent.turns import Episode, Outcome
from agent.values import Box
from models.training.grpo_figures import draw_figures, figures_of
from models.training.rollouts import Rollout

DREW = TurnFacts(AddBox(Box(0, 0, 4, 4)), Outcome.KEPT, drew=True, iou=0.6, dice=0.75)
MALFORMED = TurnFacts(Malformed("?"), Outcome.REFUSED, iou=0.6, dice=0.75, well_formed=False)
STOP = TurnFacts(Stop(), Outcome.STOPPED, iou=0.6, dice=0.75)
ABSENT = TurnFacts(Absent(), Outcome.ABSENT)


def test_a_value_for_every_episode_that_has_one() -> None:
    facts = [
        EpisodeFacts((DREW, MALFORMED, STOP)),
        EpisodeFacts((ABSENT,), truth_absent=True),
        EpisodeFacts((ABSENT,)),
    ]
    rewards = [segnode_reward(episode) for episode in facts]
    rollouts = [
        Rollout([1], [2, 3, 4], trained, None, (), Episode((), None, 0.0), full)
        for trained, full in (([1, 0, 1], True), ([1, 1, 1], False), ([1, 0, 0], False))
    ]

    figures = figures_of(rollouts, facts, rewards)

    assert figures["iou"] == [0.6, 1.0, 0.0]
    assert figures["turns"] == [3, 1, 1]
    assert figures["malformed"] == [0, 1, 0, 0, 0]  # by turn
    assert figures["ended_by_itself"] == [1, 1, 1]
    assert figures["out_of_room"] == [1, 0, 0]
    assert figures["absent_right"] == [1]
    assert figures["present_right"] == [1, 0]
    assert figures["completions/mean_length"] == [2, 3, 1]  # of what was said
    assert figures["reward_form"] == pytest.approx([2 / 3, 1, 1])
    assert figures["reward_quality"][1:] == [1, -1]


def test_a_run_without_absent_cases_has_no_figure_of_them() -> None:
    facts = [EpisodeFacts((DREW, STOP))]
    rollout = Rollout([1], [2], [1], None, (), Episode((), None, 0.0))
    figures = figures_of([rollout], facts, [segnode_reward(facts[0])])
    assert (figures["absent_right"], figures["present_right"]) == ([], [1])


def test_curves_are_drawn_of_what_was_logged(tmp_path: Path) -> None:
    history = [{"step": n, "reward": n / 10, "reward_form": 0.5, "iou": 0.3} for n in (1, 2, 3)]
    draw_figures(tmp_path / "curves.png", history)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
