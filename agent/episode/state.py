"""The state of an episode: what the policy observes, what its reply asks for, what became of it.

A turn has three steps, so that many states can be served at once: `observe` gives the policy's
observation, `step` turns its reply into a question to the segmenter (or None), `record` takes the
answer and appends the turn. Rules that the papers leave open:

- Every reply is a turn and counts; two turns in a row that change nothing end the episode, and
  so do three without any effect (`Limits`).
- A mask that does not score higher than the best is rolled back, together with its prompt, unless
  the last mask is to stand (`Limits.keep_last`).
- "Stop" without a mask is answered once with an observation; the second one ends the episode.
- "Absent" after a mask discards that mask only if its score is low; otherwise it is refused: once
  to a planner that decides (`Limits`), and not where no turn is left to say it again.
- "Stop" under review says to such a planner that the mask in doubt is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.episode.actions_to_prompts import (
    apply_action,
    normalise_action,
    same_action,
    why_invalid,
)
from agent.episode.tidy import tidy_slice
from agent.limits import Limits
from agent.ports import Observation, PromptedSlice, Reply, Segmenter
from agent.turn_masks import TurnMasks
from agent.turns import Episode, Outcome, Turn
from agent.values import PromptKind, Prompts, Segmentation, Target

Clock = Callable[[], float]
"""Seconds from some fixed start, as `time.perf_counter` counts them."""

Objection = Callable[[Segmentation], str | None]
"""Why a mask cannot be right whatever its score, in words for the policy, or None."""

SEGMENTER_FAILED = "the segmenter failed"
"""What the observation of a prompt without an answer begins with."""

_REPLY_CHARS = 8_000  # a runaway reply is kept in the turn up to here
_STALLED = frozenset({Outcome.DUPLICATE, Outcome.UNCHANGED})
_WITHOUT_EFFECT = frozenset({Outcome.REFUSED, Outcome.NO_MASK})


def no_objection(_: Segmentation) -> str | None:
    """No objection: for a slice without neighbours that have a mask."""
    return None


class _Scorer(Protocol):
    """What an episode asks of a policy: how good a mask is, 0..1 (agent.ports.Policy.score)."""

    def score(self, observation: Observation, segmentation: Segmentation) -> float:
        """The score of a mask, comparable within a target."""


@dataclass(frozen=True, eq=False)
class _Verdict:
    """The outcome of an action, from which its turn is made."""

    outcome: Outcome
    observation: str = ""
    segmentation: Segmentation | None = None
    score: float | None = None
    scoring_s: float = 0.0


@dataclass(frozen=True, eq=False)
class _PendingReply:
    """A reply before its turn is recorded: its action, and its verdict or the prompts to draw."""

    reply: Reply
    action: Action
    policy_s: float
    verdict: _Verdict | None = None
    prompts: Prompts = field(default_factory=Prompts)


class EpisodeState:
    """One episode: the prompts of the best mask, and the turns so far.

    `start` names target, slice and role; its `carried`, `latest` and `best` are shown to the policy
    as they are. `first_index` is the index of the first turn on this slice. A mask to which
    `objection` gives a reason is never kept.
    """

    def __init__(
        self,
        start: Observation,
        policy: _Scorer,
        segmenter: Segmenter,
        limits: Limits,
        *,
        first_index: int,
        objection: Objection,
        clock: Clock,
    ) -> None:
        opening = start.best or start.latest
        self._start = replace(
            start,
            supported_prompts=segmenter.supported_prompts,
            opening=None if opening is None else opening.mask,
        )
        self._policy, self._limits, self._first_index = policy, limits, first_index
        self._objection, self._clock = objection, clock
        self._prompts = Prompts(text=_text_for(start.target, segmenter.supported_prompts))
        self._latest = start.latest
        self._best_masks: list[NDArray[np.bool_] | None] = []
        self._pending: _PendingReply | None = None
        self.turns: list[Turn] = []
        self.best = start.best
        self.score = 0.0 if start.best is None else self._scored(start, start.best)
        self.absent = False

    @property
    def open(self) -> bool:
        """Whether another turn may be taken."""
        if not self.turns:
            return True
        return (
            self.turns[-1].outcome not in (Outcome.STOPPED, Outcome.ABSENT)
            and len(self.turns) < self._limits.turns(self._start.role)
            and self._in_a_row(_STALLED) < self._limits.stalls_in_a_row
            and self._in_a_row(_WITHOUT_EFFECT) < self._limits.refusals_in_a_row
        )

    @property
    def episode(self) -> Episode:
        """The turns so far and the best mask among them."""
        return Episode(tuple(self.turns), self.best, self.score, self.absent)

    def forked(self) -> EpisodeState:
        """The same episode to go on with by itself: what is tried there leaves this one alone."""
        fork = copy(self)
        fork.turns = list(self.turns)
        fork._best_masks = list(self._best_masks)  # noqa: SLF001 - it is of this class
        return fork

    def observe(self) -> Observation:
        """The policy's observation before the next turn."""
        return replace(
            self._start,
            turns=tuple(self.turns),
            latest=self._latest,
            best=self.best,
            turns_left=self._limits.turns(self._start.role) - len(self.turns),
            best_masks=tuple(self._best_masks),
        )

    def step(self, reply: Reply, policy_s: float) -> PromptedSlice | None:
        """Take the policy's reply, after `policy_s` seconds; returns what to ask the segmenter."""
        action = normalise_action(reply.action)
        verdict = self._without_drawing(action)
        if verdict is not None or not isinstance(action, AddBox | AddPoint):
            self._pending = _PendingReply(reply, action, policy_s, verdict)
            return None
        prompts = apply_action(self._prompts, action, self._limits.undo_px)
        self._pending = _PendingReply(reply, action, policy_s, prompts=prompts)
        takes_masks = PromptKind.MASK in self._start.supported_prompts
        logits = self.best.logits if self.best is not None and takes_masks else None
        encoding = self._start.slices.encoding(self._start.slice_index)
        return PromptedSlice(encoding, replace(prompts, previous_logits=logits))

    def record(self, answer: Segmentation | str | None, segmenter_s: float) -> Turn:
        """Append the turn; `answer` is the segmenter's to the question of `step`, or its fault.

        ValueError when there was no `step` before.
        """
        pending = self._pending
        if pending is None:
            raise ValueError("a turn can only be recorded after its step")
        verdict = pending.verdict or self._weigh(answer, pending.prompts)
        segmentation = verdict.segmentation
        turn = Turn(
            slice_index=self._start.slice_index,
            index=self._first_index + len(self.turns),
            role=self._start.role,
            action=pending.action,
            outcome=verdict.outcome,
            reply=pending.reply.text[:_REPLY_CHARS],
            observation=verdict.observation,
            area_px=None if segmentation is None else int(np.count_nonzero(segmentation.mask)),
            predicted_iou=None if segmentation is None else segmentation.predicted_iou,
            score=verdict.score,
            policy_s=pending.policy_s + verdict.scoring_s,
            segmenter_s=segmenter_s,
            mask_choice=segmentation.choice
            if segmentation is not None and segmentation.candidate_ious
            else None,
            candidate_ious=() if segmentation is None else segmentation.candidate_ious,
            usage=pending.reply.usage,
            masks=None
            if segmentation is None
            else TurnMasks.of(segmentation.masks_from(self._start.slice_index)),
        )
        self._pending = None
        self.turns.append(turn)
        self._best_masks.append(None if self.best is None else self.best.mask)
        return turn

    def _in_a_row(self, outcomes: Collection[Outcome]) -> int:
        return sum(1 for _ in takewhile(lambda t: t.outcome in outcomes, reversed(self.turns)))

    def _without_drawing(self, action: Action) -> _Verdict | None:
        """The verdict on an action that needs no segmenter; None for one to be drawn."""
        match action:
            case Malformed(fault):
                return _Verdict(Outcome.REFUSED, fault)
            case NameSlices():
                return _Verdict(
                    Outcome.REFUSED, "this is one slice: draw on it, or say stop or absent"
                )
            case Stop():
                return self._stop()
            case Absent():
                return self._give_up()
            case AddBox() | AddPoint():
                return self._refused(action)

    def _refused(self, action: AddBox | AddPoint) -> _Verdict | None:
        start = self._start
        fault = why_invalid(action, start.supported_prompts, start.slices.shape[1:])
        if fault is not None:
            return _Verdict(Outcome.REFUSED, fault)
        if any(same_action(action, turn.action) for turn in self.turns):
            return _Verdict(
                Outcome.DUPLICATE, "the same was tried before: try something else, or stop"
            )
        return None

    def _stop(self) -> _Verdict:
        stopped_before = any(isinstance(turn.action, Stop) for turn in self.turns)
        in_doubt = self._start.opening is not None and self._limits.planner_decides
        if self.best is None and not stopped_before and not in_doubt:
            return _Verdict(
                Outcome.REFUSED,
                "there is no mask yet: draw one, or say that the structure is absent",
            )
        return _Verdict(Outcome.STOPPED)

    def _give_up(self) -> _Verdict:
        if self._limits.planner_decides:
            said_before = any(isinstance(turn.action, Absent) for turn in self.turns)
            has_turns = len(self.turns) + 1 < self._limits.turns(self._start.role)
            # a mask that scores well is put before the planner once more, if it can still answer
            is_good = self.best is not None and self.score >= self._limits.absent_below
            if is_good and has_turns and not said_before:
                return _Verdict(
                    Outcome.REFUSED,
                    "a mask was drawn on this slice: say once more that the target is absent, and "
                    "the mask goes; or stop to keep it",
                )
        elif self.best is not None and self.score >= self._limits.absent_below:
            return _Verdict(
                Outcome.REFUSED,
                f"a mask of score {self.score:.2f} has been kept: stop to keep it, or correct it",
            )
        self.best, self.score, self.absent = None, 0.0, True
        return _Verdict(Outcome.ABSENT)

    def _weigh(self, answer: Segmentation | str | None, prompts: Prompts) -> _Verdict:
        """The verdict on an answer, which becomes the best mask if its score is higher."""
        if not isinstance(answer, Segmentation):
            return _Verdict(Outcome.NO_MASK, f"{SEGMENTER_FAILED}: {answer}")
        fault = _no_mask_of(answer, self._start.slices.shape[1:])
        if fault is not None:
            return _Verdict(Outcome.NO_MASK, f"{SEGMENTER_FAILED}: {fault}")
        segmentation = replace(
            answer,
            mask=tidy_slice(answer.mask),
            predicted_iou=_finite(answer.predicted_iou),
            candidate_ious=tuple(map(_finite, answer.candidate_ious)),
        )
        if not segmentation.mask.any():
            return _Verdict(Outcome.NO_MASK, "nothing was drawn there: try another place")
        # the latest, too: a mask that was rolled back and comes again teaches nobody anything
        earlier_masks = [s.mask for s in (self.best, self._latest) if s is not None]
        if any(np.array_equal(mask, segmentation.mask) for mask in earlier_masks):
            return _Verdict(
                Outcome.UNCHANGED,
                "the mask did not change: try something else, or stop",
                segmentation,
            )
        # the policy scores with what it saw when it acted, before this mask became the latest
        observation = self.observe()
        self._latest = segmentation
        objection = self._objection(segmentation)
        if objection is not None:
            return _Verdict(
                Outcome.ROLLED_BACK, f"{objection}; the mask was not kept", segmentation
            )
        return self._compare(segmentation, prompts, observation)

    def _compare(
        self, segmentation: Segmentation, prompts: Prompts, observation: Observation
    ) -> _Verdict:
        began = self._clock()
        score = self._scored(observation, segmentation)
        scoring_s = self._clock() - began
        is_better = self.best is None or score > self.score or self._limits.keep_last
        if not is_better:
            text = f"that is no better ({score:.2f}, the best is {self.score:.2f}) and was undone"
            return _Verdict(Outcome.ROLLED_BACK, text, segmentation, score, scoring_s)
        self.best, self.score, self._prompts = segmentation, score, prompts
        text = f"the mask was kept, score {score:.2f}"
        return _Verdict(Outcome.KEPT, text, segmentation, score, scoring_s)

    def _scored(self, observation: Observation, segmentation: Segmentation) -> float:
        score = self._policy.score(observation, segmentation)
        return float(min(max(score, 0.0), 1.0)) if math.isfinite(score) else 0.0


def _text_for(target: Target, supported_prompts: Collection[PromptKind]) -> str:
    """The target's name for a segmenter that takes text; "" for any other."""
    if PromptKind.TEXT not in supported_prompts:
        return ""
    return target.text if target.structure is None else target.structure.replace("_", " ")


def _finite(score: float) -> float:
    """A model's score for the record; 0 for one that is not finite."""
    return float(score) if math.isfinite(score) else 0.0


def _no_mask_of(answer: Segmentation, shape: tuple[int, ...]) -> str | None:
    """Why an answer is no mask of a slice of `shape` (rows, columns); None if it is one."""
    if answer.mask.shape != shape or answer.mask.dtype != np.bool_:
        return f"its mask is {answer.mask.dtype} {answer.mask.shape}"
    return None
