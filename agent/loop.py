"""One slice, turn by turn: the policy acts, the segmenter draws, the best mask so far is kept.

The loop yields every turn as it happens, so the caller can store, show or stop. Nothing a policy
says or a segmenter fails at raises here: it becomes an observation, and the policy tries again
within its budget. Rules that the papers leave open:

- Every reply is a turn and counts; two turns in a row that change nothing end the episode, and
  so do three that have no effect at all (`Limits`).
- A mask that scores lower than the best is rolled back together with the prompt that made it.
- "Stop" without a mask is answered once with an observation; said again, it ends.
- "Absent" after a mask gives that mask up only if its score is low; otherwise it is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.errors import SegmenterFailed
from agent.limits import Limits
from agent.ports import Observation, Policy, Segmenter
from agent.prompting import merged, refusal, same_action, settled
from agent.tidy import tidy_slice
from agent.turns import Episode, Outcome, Turn
from agent.values import PromptKind, Prompts, Segmentation

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


def run_episode(
    start: Observation,
    policy: Policy,
    segmenter: Segmenter,
    limits: Limits,
    *,
    first_index: int = 0,
    objection: Objection = no_objection,
    clock: Clock = time.perf_counter,
) -> Generator[Turn, None, Episode]:
    """Work on one slice until the policy stops or its budget is spent; yields turns, returns the Episode.

    `start` names target, slice and role; its `carried`, `latest` and `best` are shown to the
    policy as they are. `first_index` is the index of the first turn on this slice. A mask that
    `objection` speaks against is never kept. Errors other than SegmenterFailed pass through.
    """
    desk = _Desk(
        start,
        policy,
        segmenter,
        limits,
        first_index=first_index,
        objection=objection,
        clock=clock,
    )
    while desk.open:
        yield desk.turn()
    return Episode(tuple(desk.turns), desk.best, desk.score, desk.absent)


@dataclass(frozen=True, eq=False)
class _Verdict:
    """What came of an action, before it is written down as a turn."""

    outcome: Outcome
    told: str = ""
    drawn: Segmentation | None = None
    score: float | None = None
    segmenter_s: float = 0.0
    appraisal_s: float = 0.0


class _Desk:
    """A slice being worked on: the prompts that made the best mask, and the turns so far."""

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
        self._start, self._policy, self._segmenter = start, policy, segmenter
        self._limits, self._first_index = limits, first_index
        self._objection, self._clock = objection, clock
        self._prompts = Prompts()
        self._latest = start.latest
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

    def turn(self) -> Turn:
        """Ask the policy once, do what it says, write it down."""
        seen = self._seen()
        began = self._clock()
        reply = self._policy.act(seen)
        policy_s = self._clock() - began
        action = settled(reply.action)
        verdict = self._judge(action, seen)
        turn = Turn(
            slice_index=seen.slice_index,
            index=self._first_index + len(self.turns),
            role=seen.role,
            action=action,
            outcome=verdict.outcome,
            reply=reply.text[:_REPLY_CHARS],
            observation=verdict.told,
            area_px=None if verdict.drawn is None else int(np.count_nonzero(verdict.drawn.mask)),
            predicted_iou=None if verdict.drawn is None else verdict.drawn.predicted_iou,
            score=verdict.score,
            policy_s=policy_s + verdict.appraisal_s,
            segmenter_s=verdict.segmenter_s,
        )
        self.turns.append(turn)
        return turn

    def _seen(self) -> Observation:
        return replace(
            self._start,
            turns=tuple(self.turns),
            latest=self._latest,
            best=self.best,
            turns_left=self._limits.turns(self._start.role) - len(self.turns),
        )

    def _in_a_row(self, outcomes: Collection[Outcome]) -> int:
        return sum(1 for _ in takewhile(lambda t: t.outcome in outcomes, reversed(self.turns)))

    def _judge(self, action: Action, seen: Observation) -> _Verdict:
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
                return self._try(action, seen)

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

    def _try(self, action: AddBox | AddPoint, seen: Observation) -> _Verdict:
        fault = refusal(action, self._segmenter.understands, seen.slices.shape[1:])
        if fault is not None:
            return _Verdict(Outcome.REFUSED, fault)
        if any(same_action(action, turn.action) for turn in self.turns):
            return _Verdict(
                Outcome.DUPLICATE, "the same was tried before: try something else, or stop"
            )
        prompts = merged(self._prompts, action, self._limits.undo_px)
        began = self._clock()
        try:
            drawn = self._draw(prompts, seen)
        except SegmenterFailed as failure:
            return _Verdict(
                Outcome.NO_MASK,
                f"the segmenter failed: {failure}",
                segmenter_s=self._clock() - began,
            )
        verdict = self._weigh(drawn, prompts, seen)
        return replace(verdict, segmenter_s=self._clock() - began - verdict.appraisal_s)

    def _draw(self, prompts: Prompts, seen: Observation) -> Segmentation:
        """The tidied answer to all prompts so far and the best mask's logits."""
        takes_masks = PromptKind.MASK in self._segmenter.understands
        logits = self.best.logits if self.best is not None and takes_masks else None
        answer = self._segmenter.segment(
            seen.slices.encoding(seen.slice_index), replace(prompts, previous_logits=logits)
        )
        shape = seen.slices.shape[1:]
        if answer.mask.shape != shape or answer.mask.dtype != np.bool_:
            raise SegmenterFailed(f"its mask is {answer.mask.dtype} {answer.mask.shape}")
        opinion = answer.predicted_iou if math.isfinite(answer.predicted_iou) else 0.0
        return replace(answer, mask=tidy_slice(answer.mask), predicted_iou=float(opinion))

    def _weigh(self, drawn: Segmentation, prompts: Prompts, seen: Observation) -> _Verdict:
        """Keep `drawn` if it is better than what there is; say what became of it."""
        if not drawn.mask.any():
            return _Verdict(Outcome.NO_MASK, "nothing was drawn there: try another place")
        earlier = (self.best, self._latest)
        if any(one is not None and np.array_equal(one.mask, drawn.mask) for one in earlier):
            return _Verdict(
                Outcome.UNCHANGED, "the mask did not change: try something else, or stop", drawn
            )
        self._latest = drawn
        fault = self._objection(drawn)
        if fault is not None:
            return _Verdict(Outcome.ROLLED_BACK, f"{fault}; the mask was not kept", drawn)
        began = self._clock()
        score = self._appraise(seen, drawn)
        appraisal_s = self._clock() - began
        if self.best is not None and score <= self.score:
            told = f"that is no better ({score:.2f}, the best is {self.score:.2f}) and was undone"
            return _Verdict(Outcome.ROLLED_BACK, told, drawn, score, appraisal_s=appraisal_s)
        self.best, self.score, self._prompts = drawn, score, prompts
        told = f"the mask was kept, score {score:.2f}"
        return _Verdict(Outcome.KEPT, told, drawn, score, appraisal_s=appraisal_s)

    def _appraise(self, seen: Observation, drawn: Segmentation) -> float:
        score = self._policy.appraise(seen, drawn)
        return float(min(max(score, 0.0), 1.0)) if math.isfinite(score) else 0.0
