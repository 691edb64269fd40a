"""The figures of GRPO: what is logged of a batch of episodes, and drawn of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.training.episode_facts import EpisodeFacts
from agent.training.rewards import Reward
from models.training.curves import curve_of, draw_curves
from models.training.rollouts import Rollout


def figures_of(
    rollouts: Sequence[Rollout], facts: Sequence[EpisodeFacts], rewards: Sequence[Reward]
) -> dict[str, list[float]]:
    """What is logged, each with a value for every episode that has one."""
    turns = [turn for episode in facts for turn in episode.turns]
    lengths = [float(sum(rollout.trained)) for rollout in rollouts]
    figures = {
        "iou": [episode.final_iou for episode in facts],
        "turns": [float(len(episode.turns)) for episode in facts],
        "malformed": [float(not turn.well_formed) for turn in turns],
        "out_of_room": [float(rollout.out_of_room) for rollout in rollouts],
        "ended_by_itself": [float(episode.ended_by_itself) for episode in facts],
        "absent_right": [
            float(episode.answered_absent) for episode in facts if episode.truth_absent
        ],
        "present_right": [
            float(not episode.answered_absent) for episode in facts if not episode.truth_absent
        ],
        "completions/mean_length": lengths,
    }
    return figures | {
        f"reward_{term}": [reward.terms[term] for reward in rewards] for term in rewards[0].terms
    }


def draw_figures(file: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw the curves of a Trainer's log `history` as one PNG."""
    terms = sorted({name for entry in history for name in entry if name.startswith("reward_")})
    panels = {
        "reward": ["reward", *terms],
        "IoU at the end": ["iou"],
        "turns": ["turns"],
        "share": [
            "malformed",
            "ended_by_itself",
            "out_of_room",
            "absent_right",
            "groups_left_out",
        ],
        "gradient norm": ["grad_norm"],
    }
    draw_curves(
        file,
        {
            title: {name: curve_of(history, name) for name in names}
            for title, names in panels.items()
        },
    )
