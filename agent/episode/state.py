"""A slice being worked on: what the policy is shown, what its reply asks for, and what becomes of
the answer.

A turn has three steps, so that many states can be served at once: `seen` is put before the policy,
`hear` turns its reply into a question to the segmenter (or None), `settle` takes the answer and
writes the turn down. Rules that the papers leave open:

- Every reply is a turn and counts; two turns in a row that change nothing end the episode, and
  so do three that have no effect at all (`Limits`).
- A mask that scores lower than the best is rolled back together with the prompt that made it.
- "Stop" without a mask is answered once with an observation; said again, it ends.
- "Absent" after a mask gives that mask up only if its score is low; otherwise it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from itertools import takewhile

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
from agent.ports import Observation, Policy, PromptedSlice, Reply, Segmenter
from agent.turn_masks import TurnMasks
from agent.turns import Episode, Outcome, Turn
from agent.values import PromptKind, Prompts, Segmentation, Target

Clock = Callable[[], float]
"""Seconds from some fixed start, as `time.perf_counter` counts them."""

Objection = Callable[[Segmentation], str | None]
"""Why a drawn mask cannot be right whatever its score, in words for the policy, or None."""

_REPLY_CHARS = 8_000  # a runaway reply is kept in the turn up to here
_STALLED = frozenset({Outcome.DUPLICATE, Outcome.UNCHANGED})
_WITHOUT_EFFECT = frozenset({Outcome.REFUSED, Outcome.NO_MASK})


def no_objection(_: Segmentation) -> str | None:
    """The guard of a slice that nothing is known about."""
    return None


@dataclass(frozen=True, eq=False)
class _Verdict:
    """What came of an action, before it is written down as a turn."""

    outcome: Outcome
    told: str = ""
    drawn: Segmentation | None = None
    score: float | None = None
    appraisal_s: float = 0.0


@dataclass(frozen=True, eq=False)
class _Heard:
    """A reply that waits for its end: the normalise_action action, and either its verdict or the prompts to
    draw.
    """

    reply: Reply
    action: Action
    policy_s: float
    verdict: _Verdict | None = None
    prompts: Prompts = field(default_factory=Prompts)


class EpisodeState:
    """One episode: the prompts that made the best mask, and the turns so far.

    `start` names target, slice and role; its `carried`, `latest` and `best` are shown to the policy
    as they are. `first_index` is the index of the first turn on this slice. A mask that `objection`
    speaks against is never kept.
    """

    def __init__(
        self,
        start: Observation,
        policy: Policy,
        segmenter: Segmenter,
        limits: Limits,
        *,
        first_index: int,
        objection: Objection,
        clock: Clock,
    ) -> None:
        opened_with = start.best or start.latest
        self._start = replace(
            start,
            supported_prompts=segmenter.supported_prompts,
            opening=None if opened_with is None else opened_with.mask,
        )
        self._policy, self._limits, self._first_index = policy, limits, first_index
        self._objection, self._clock = objection, clock
        self._prompts = Prompts(text=_spoken(start.target, segmenter.supported_prompts))
        self._latest = start.latest
        self._shown: list[NDArray[np.bool_] | None] = []
        self._heard: _Heard | None = None
        self.turns: list[Turn] = []
        self.best = start.best
        self.score = 0.0 if start.best is None else self._appraise(start, start.best)
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
        """What the turns have led to so far."""
        return Episode(tuple(self.turns), self.best, self.score, self.absent)

    def observe(self) -> Observation:
        """What the policy is shown now."""
        return replace(
            self._start,
            turns=tuple(self.turns),
            latest=self._latest,
            best=self.best,
            turns_left=self._limits.turns(self._start.role) - len(self.turns),
            shown=tuple(self._shown),
        )

    def step(self, reply: Reply, policy_s: float) -> PromptedSlice | None:
        """Take the policy's reply, thought over for `policy_s`; what to ask the segmenter, if
        anything.
        """
        action = normalise_action(reply.action)
        verdict = self._without_drawing(action)
        if verdict is not None or not isinstance(action, AddBox | AddPoint):
            self._heard = _Heard(reply, action, policy_s, verdict)
            return None
        prompts = apply_action(self._prompts, action, self._limits.undo_px)
        self._heard = _Heard(reply, action, policy_s, prompts=prompts)
        takes_masks = PromptKind.MASK in self._start.supported_prompts
        logits = self.best.logits if self.best is not None and takes_masks else None
        encoding = self._start.slices.encoding(self._start.slice_index)
        return PromptedSlice(encoding, replace(prompts, previous_logits=logits))

    def record(self, answer: Segmentation | str | None, segmenter_s: float) -> Turn:
        """Write the turn down: `answer` to what `hear` asked (a fault in words where the segmenter
        failed).
        """
        heard = self._heard
        if heard is None:
            raise ValueError("a reply must be heard before its turn can be settled")
        verdict = heard.verdict or self._weigh(answer, heard.prompts)
        drawn = verdict.drawn
        turn = Turn(
            slice_index=self._start.slice_index,
            index=self._first_index + len(self.turns),
            role=self._start.role,
            action=heard.action,
            outcome=verdict.outcome,
            reply=heard.reply.text[:_REPLY_CHARS],
            observation=verdict.told,
            area_px=None if drawn is None else int(np.count_nonzero(drawn.mask)),
            predicted_iou=None if drawn is None else drawn.predicted_iou,
            score=verdict.score,
            policy_s=heard.policy_s + verdict.appraisal_s,
            segmenter_s=segmenter_s,
            mask_choice=drawn.choice if drawn is not None and drawn.candidate_ious else None,
            candidate_ious=() if drawn is None else drawn.candidate_ious,
            usage=heard.reply.usage,
            masks=None
            if drawn is None
            else TurnMasks.of(drawn.masks_from(self._start.slice_index)),
        )
        self._heard = None
        self.turns.append(turn)
        self._shown.append(None if self.best is None else self.best.mask)
        return turn

    def _in_a_row(self, outcomes: Collection[Outcome]) -> int:
        return sum(1 for _ in takewhile(lambda t: t.outcome in outcomes, reversed(self.turns)))

    def _without_drawing(self, action: Action) -> _Verdict | None:
        """What becomes of an action that needs no segmenter; None for one that is to be drawn."""
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
        said_before = any(isinstance(turn.action, Stop) for turn in self.turns)
        if self.best is None and not said_before:
            return _Verdict(
                Outcome.REFUSED,
                "there is no mask yet: draw one, or say that the structure is absent",
            )
        return _Verdict(Outcome.STOPPED)

    def _give_up(self) -> _Verdict:
        if self.best is not None and self.score >= self._limits.absent_below:
            return _Verdict(
                Outcome.REFUSED,
                f"a mask of score {self.score:.2f} has been kept: stop to keep it, or correct it",
            )
        self.best, self.score, self.absent = None, 0.0, True
        return _Verdict(Outcome.ABSENT)

    def _weigh(self, answer: Segmentation | str | None, prompts: Prompts) -> _Verdict:
        """Keep what was drawn if it is better than what there is; say what became of it."""
        if not isinstance(answer, Segmentation):
            return _Verdict(Outcome.NO_MASK, f"the segmenter failed: {answer}")
        fault = _no_mask_of(answer, self._start.slices.shape[1:])
        if fault is not None:
            return _Verdict(Outcome.NO_MASK, f"the segmenter failed: {fault}")
        drawn = replace(
            answer,
            mask=tidy_slice(answer.mask),
            predicted_iou=_opinion(answer.predicted_iou),
            candidate_ious=tuple(map(_opinion, answer.candidate_ious)),
        )
        if not drawn.mask.any():
            return _Verdict(Outcome.NO_MASK, "nothing was drawn there: try another place")
        earlier = (self.best, self._latest)
        if any(one is not None and np.array_equal(one.mask, drawn.mask) for one in earlier):
            return _Verdict(
                Outcome.UNCHANGED, "the mask did not change: try something else, or stop", drawn
            )
        observation = self.observe()
        self._latest = drawn
        objection = self._objection(drawn)
        if objection is not None:
            return _Verdict(Outcome.ROLLED_BACK, f"{objection}; the mask was not kept", drawn)
        return self._compare(drawn, prompts, observation)

    def _compare(self, drawn: Segmentation, prompts: Prompts, seen: Observation) -> _Verdict:
        began = self._clock()
        score = self._appraise(seen, drawn)
        appraisal_s = self._clock() - began
        if self.best is not None and score <= self.score:
            told = f"that is no better ({score:.2f}, the best is {self.score:.2f}) and was undone"
            return _Verdict(Outcome.ROLLED_BACK, told, drawn, score, appraisal_s)
        self.best, self.score, self._prompts = drawn, score, prompts
        told = f"the mask was kept, score {score:.2f}"
        return _Verdict(Outcome.KEPT, told, drawn, score, appraisal_s)

    def _appraise(self, seen: Observation, drawn: Segmentation) -> float:
        score = self._policy.score(seen, drawn)
        return float(min(max(score, 0.0), 1.0)) if math.isfinite(score) else 0.0


def _spoken(target: Target, supported_prompts: Collection[PromptKind]) -> str:
    """The target's name for a segmenter that reads; "" for one that does not."""
    if PromptKind.TEXT not in supported_prompts:
        return ""
    return target.text if target.structure is None else target.structure.replace("_", " ")


def _opinion(said: float) -> float:
    """An opinion that can be kept; one that is no number is the lowest."""
    return float(said) if math.isfinite(said) else 0.0


def _no_mask_of(answer: Segmentation, shape: tuple[int, ...]) -> str | None:
    """Why an answer is no mask of a slice of `shape` (rows, columns), or None if it is one."""
    if answer.mask.shape != shape or answer.mask.dtype != np.bool_:
        return f"its mask is {answer.mask.dtype} {answer.mask.shape}"
    return None
