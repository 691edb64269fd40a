"""What a reward looks at: an episode's turns with the truth beside them, as plain numbers.

The mask of a turn is the one that stands after it: a mask that was rolled back is nobody's result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.actions import Absent, Action, AddPoint, Malformed, Stop
from agent.protocol.dialects import Dialect
from agent.turns import Episode, Outcome, Turn
from agent.values import Point

_THOUGHT_AND_ACTION = re.compile(
    r"\s*<think>(?:(?!<think>).)*</think>\s*<action>(?:(?!<action>).)*</action>"
    r"(?P<answer>\s*<answer>.*</answer>)?\s*",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class TurnFacts:
    """One turn beside the truth.

    `drew` whether the segmenter gave a mask; `iou` and `dice` 0..1 of the mask that stands after
    the turn, None while there is none. `click_in_error` whether a click lies in the part of the
    mask before that it says is wrong (positive: in what is left out, negative: in what is too
    much), None where the action is no click. `well_formed` whether the reply has its dialect's
    form.
    """

    action: Action
    outcome: Outcome
    drew: bool = False
    iou: float | None = None
    dice: float | None = None
    click_in_error: bool | None = None
    well_formed: bool = True


@dataclass(frozen=True)
class EpisodeFacts:
    """An episode's turns beside the truth; `truth_absent` where the truth has no pixel."""

    turns: tuple[TurnFacts, ...]
    truth_absent: bool = False

    @property
    def answered_absent(self) -> bool:
        """Whether the episode ended with the answer that the structure is absent."""
        return bool(self.turns) and self.turns[-1].outcome is Outcome.ABSENT

    @property
    def ended_by_itself(self) -> bool:
        """Whether it was ended by "stop" or "absent", and not by a budget."""
        return bool(self.turns) and self.turns[-1].outcome in (Outcome.STOPPED, Outcome.ABSENT)

    @property
    def overlaps(self) -> tuple[tuple[float, float], ...]:
        """(IoU, Dice) after each turn that drew, in order."""
        return tuple(
            (turn.iou, turn.dice)
            for turn in self.turns
            if turn.drew and turn.iou is not None and turn.dice is not None
        )

    @property
    def final_iou(self) -> float:
        """The IoU of what the episode leaves: 1 for "absent" where it is right, 0 for no mask."""
        if self.answered_absent:
            return float(self.truth_absent)
        last = self.turns[-1].iou if self.turns else None
        return 0.0 if last is None else last


def episode_facts(episode: Episode, truth: NDArray[np.bool_], dialect: Dialect) -> EpisodeFacts:
    """The facts of an episode on the slice whose truth (rows, columns) bool is given; ValueError
    for a truth of another size than its masks, and where masks are not there.
    """
    standing = _standing_masks(episode.turns)
    pairs = zip(episode.turns, pairwise([None, *standing]), strict=True)
    turns = tuple(
        _turn_facts(turn, before, after, truth, dialect) for turn, (before, after) in pairs
    )
    return EpisodeFacts(turns, truth_absent=not truth.any())


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """(IoU, Dice) of two masks (rows, columns) bool; two empty ones agree: (1, 1). ValueError for
    two sizes.

    >>> overlap(np.array([[True, True, False]]), np.array([[False, True, True]]))
    (0.3333333333333333, 0.5)
    """
    if mask.shape != truth.shape:
        raise ValueError(f"a mask {mask.shape} cannot be compared with a truth {truth.shape}")
    shared = int(np.count_nonzero(mask & truth))
    total = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return (shared / (total - shared), 2 * shared / total) if total else (1.0, 1.0)


def click_in_error(point: Point, mask: NDArray[np.bool_] | None, truth: NDArray[np.bool_]) -> bool:
    """Whether a click (x, y) in pixels lies in the error that it names: a positive one in the truth
    outside `mask`, a negative one in `mask` outside the truth; None is the empty mask.
    """
    row, column = round(point.y), round(point.x)
    if not (0 <= row < truth.shape[0] and 0 <= column < truth.shape[1]):
        return False
    inside = mask is not None and bool(mask[row, column])
    wanted = bool(truth[row, column])
    return wanted and not inside if point.positive else inside and not wanted


def well_formed(reply: str, action: Action, dialect: Dialect) -> bool:
    """Whether a reply has its dialect's whole form; `action` is what was read in it.

    IBISAgent's is a thought, then the action, then an answer where the action ends the episode and
    only there.
    """
    if isinstance(action, Malformed):
        return False
    if dialect is Dialect.TOOL_CALL:
        return True
    form = _THOUGHT_AND_ACTION.fullmatch(reply)
    return form is not None and (form["answer"] is not None) is isinstance(action, Stop | Absent)


def _standing_masks(turns: Sequence[Turn]) -> list[NDArray[np.bool_] | None]:
    """The best mask (rows, columns) bool after each turn."""
    standing, best = [], None
    for turn in turns:
        if turn.outcome is Outcome.KEPT:
            best = _mask_of(turn)
        elif turn.outcome is Outcome.ABSENT:
            best = None
        standing.append(best)
    return standing


def _mask_of(turn: Turn) -> NDArray[np.bool_]:
    if turn.masks is None:
        raise ValueError(f"turn {turn.index} was kept, but its mask is not there")
    return turn.masks.unpacked()[turn.slice_index]


def _turn_facts(
    turn: Turn,
    before: NDArray[np.bool_] | None,
    after: NDArray[np.bool_] | None,
    truth: NDArray[np.bool_],
    dialect: Dialect,
) -> TurnFacts:
    iou, dice = (None, None) if after is None else overlap(after, truth)
    click = turn.action.point if isinstance(turn.action, AddPoint) else None
    return TurnFacts(
        action=turn.action,
        outcome=turn.outcome,
        drew=turn.masks is not None,
        iou=iou,
        dice=dice,
        click_in_error=None if click is None else click_in_error(click, before, truth),
        well_formed=well_formed(turn.reply, turn.action, dialect),
    )
