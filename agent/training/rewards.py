"""The rewards of an episode: those of both papers with their exact constants, and ours.

Each is a pure function of the facts (agent/training/episode_facts.py) and returns its terms by name
beside their sum, so that a run's curves show what was learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from agent.actions import Absent, AddBox, AddPoint, Malformed, Stop
from agent.training.episode_facts import EpisodeFacts, TurnFacts
from agent.turns import Outcome


class RewardName(StrEnum):
    """The rewards that can be chosen."""

    MEDSAM_AGENT = "medsam-agent"
    IBIS = "ibis"
    SEGNODE = "segnode"


@dataclass(frozen=True)
class Reward:
    """What an episode earns: the `total`, and the `terms` it was made of by name."""

    total: float
    terms: Mapping[str, float]


# MedSAM-Agent, both its code and its paper: w1 F + w2 clip(Q + l1 improve - l2 overshoot - l3 T)
_FORM_WEIGHT, _QUALITY_WEIGHT = 0.2, 0.8
_OVERSHOOT_WEIGHT, _TURN_COST, _IMPROVE_WEIGHT = 1.0, 0.01, 0.1
_NO_OVERSHOOT = 1e-6  # a smaller gap to the best IoU is none
_MOST_MASKS = 32

# IBISAgent: (IoU above, points), the highest first
_ANSWERS = ((0.80, 3.0), (0.70, 2.0), (0.50, 1.0))
_FREE_STEPS, _STEP_COST, _IBIS_TERMS = 5, 0.2, 5

_DENIED = -1.0  # "absent" of what is there: what it earns where it is right, taken away

_EFFECTIVE = frozenset({Outcome.KEPT, Outcome.STOPPED, Outcome.ABSENT})


def medsam_agent_reward(facts: EpisodeFacts) -> Reward:
    """MedSAM-Agent's: 0.2 form + 0.8 quality, 0..1.

    Form is 1 when something was drawn and the last call is stop, 0.5 for one of the two. Quality is
    the mean of IoU and Dice at the end, less what was lost since the best mask and 0.01 for each
    mask, and 0.1 of each gain; the corrections need two masks. It knows no "absent".
    """
    calls = [turn.action for turn in facts.turns if not isinstance(turn.action, Malformed)]
    has_drawn = any(isinstance(call, AddBox | AddPoint) for call in calls)
    stopped = bool(calls) and isinstance(calls[-1], Stop)
    form = (has_drawn + stopped) / 2
    masks = len(facts.overlaps[:_MOST_MASKS])
    quality = _quality(facts, cost=_TURN_COST * masks if masks > 1 else 0.0)
    total = _FORM_WEIGHT * form + _QUALITY_WEIGHT * quality["quality"]
    return Reward(total, {"form": form, **quality})


def ibis_reward(facts: EpisodeFacts) -> Reward:
    """IBISAgent's: for each turn (form + answer + click + progress + length) / 5, and the mean over
    the turns, since here an episode is credited as a whole; at most 7 / 5.

    The first turn is step 1. 0 for an episode without turns.
    """
    previous_ious = [0.0, *(turn.iou or 0.0 for turn in facts.turns)]
    by_turn = [
        ibis_turn_terms(turn, previous, step)
        for step, (turn, previous) in enumerate(
            zip(facts.turns, previous_ious, strict=False), start=1
        )
    ]
    if not by_turn:
        return Reward(0.0, {})
    terms = {name: sum(turn[name] for turn in by_turn) / len(by_turn) for name in by_turn[0]}
    return Reward(sum(terms.values()) / _IBIS_TERMS, terms)


def ibis_turn_terms(
    turn: TurnFacts, previous_iou: float, step: int | None = None
) -> Mapping[str, float]:
    """The five terms of one turn; `step` counts from 1, None where it is not known.

    A box is no click and earns nothing as one; a reply without an action is a wrong click.
    """
    iou = turn.iou or 0.0
    ends = isinstance(turn.action, Stop | Absent)
    return {
        "form": float(turn.well_formed),
        "answer": next((points for above, points in _ANSWERS if iou > above), 0.0),
        "click": _click(turn),
        "progress": float(not ends and iou > previous_iou),
        "length": _length(step),
    }


def segnode_reward(facts: EpisodeFacts) -> Reward:
    """Ours: 0.2 form + 0.8 quality, -0.6..1, with an answer for the structure that is not there.

    Form is the share of turns that had an effect (a better mask, stop, absent), halved unless the
    episode was ended by itself: a turn that changes nothing earns nothing. Quality is that of
    MedSAM-Agent, but 0.01 is the cost of each turn after the first, whatever it did; 1 less that
    cost for "absent" where it is right; -1 for "absent" where it is wrong; and 0 for any other end
    where the structure is absent. So "absent" to everything, where half of the structures or more
    are there, earns no more than drawing at random. `presence` tells whether it was right about
    that, and is no part of the sum.
    """
    effective = sum(turn.outcome in _EFFECTIVE for turn in facts.turns)
    share = effective / len(facts.turns) if facts.turns else 0.0
    form = share * (1.0 if facts.ended_by_itself else 0.5)
    cost = _TURN_COST * max(len(facts.turns) - 1, 0)
    quality = _quality(facts, cost=cost)
    if facts.truth_absent or facts.answered_absent:
        answer = _presence_quality(facts, cost=cost)
        quality = dict.fromkeys(quality, 0.0) | {"quality": answer, "turns": cost}
    total = _FORM_WEIGHT * form + _QUALITY_WEIGHT * quality["quality"]
    presence = float(facts.answered_absent is facts.truth_absent)
    return Reward(total, {"form": form, "presence": presence, **quality})


REWARDS: Mapping[RewardName, Callable[[EpisodeFacts], Reward]] = {
    RewardName.MEDSAM_AGENT: medsam_agent_reward,
    RewardName.IBIS: ibis_reward,
    RewardName.SEGNODE: segnode_reward,
}
"""Each reward by its name."""


def _presence_quality(facts: EpisodeFacts, *, cost: float) -> float:
    """The quality of an episode whose truth, or whose answer, is that nothing is there."""
    if not facts.answered_absent:
        return 0.0
    return max(1.0 - cost, 0.0) if facts.truth_absent else _DENIED


def _quality(facts: EpisodeFacts, *, cost: float) -> dict[str, float]:
    """Q of MedSAM-Agent with its parts as they count in it; `cost` is that of the turns."""
    overlaps = facts.overlaps[:_MOST_MASKS]
    if not overlaps:
        nothing = dict.fromkeys(("quality", "base", "overshoot", "improve"), 0.0)
        return nothing | {"turns": cost}
    ious = [iou for iou, _ in overlaps]
    iou, dice = overlaps[-1]
    base = 0.5 * iou + 0.5 * dice if dice else iou
    gap = max(ious) - iou
    overshoot = _OVERSHOOT_WEIGHT * gap if gap >= _NO_OVERSHOOT else 0.0
    gains = sum(max(0.0, after - before) for before, after in pairwise(ious))
    improve = _IMPROVE_WEIGHT * gains
    quality = min(max(base - overshoot - cost + improve, 0.0), 1.0)
    return {
        "quality": quality,
        "base": base,
        "overshoot": overshoot,
        "turns": cost,
        "improve": improve,
    }


def _click(turn: TurnFacts) -> float:
    match turn.action:
        case Stop() | Absent() | AddBox():
            return 0.0
        case _:
            return 1.0 if turn.click_in_error else -1.0


def _length(step: int | None) -> float:
    if step is None:
        return 0.0
    return 1.0 if step <= _FREE_STEPS else -_STEP_COST * (step - _FREE_STEPS)
