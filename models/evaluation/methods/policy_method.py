"""A policy as a method: all targets of a case through the agent's own work, as in serving."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.case import Case
from agent.limits import Limits
from agent.ports import Policy, Slices
from agent.turns import TargetResult, Turn
from agent.values import Target, TargetStatus
from agent.volume.order import run_turns, segment_targets
from agent.volume.outline import Outline, outline_target
from agent.volume.run import finish_target, follow_outlines
from agent.volume.target_state import EpisodeConfig
from models.evaluation.methods.answers import MethodAnswer, PreparedCase, failure
from models.evaluation.methods.by_turn import last_masks, masks_by_turn
from models.loaded_models import LoadedModels

LAST_MASK = "last-mask"
"""The name of what would stand if each slice's last mask won, not the best; from the same turns."""

T = TypeVar("T")


def single_turn(limits: Limits) -> Limits:
    """The same limits with one turn on each slice."""
    return replace(limits, max_turns=1, carry_turns=1, review_turns=1)


@dataclass(frozen=True, eq=False)
class PolicyMethod:
    """A policy and a segmenter within `limits`.

    `policy_for` makes the policy of a case where it is not that of `models`. `with_last_mask` adds
    the answer in which the last mask wins. `only_known` leaves out targets that the policy does not
    know and modalities that it was not made for, and `only_present` those that are not there.
    """

    name: str
    models: LoadedModels
    limits: Limits
    policy_for: Callable[[PreparedCase], Policy] | None = None
    with_last_mask: bool = False
    only_known: bool = False
    only_present: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The method's, and that of the last masks."""
        return (self.name, LAST_MASK) if self.with_last_mask else (self.name,)

    def targets(self, case: Case) -> tuple[Target, ...]:
        """All, but for those that it leaves out."""
        knowledge, modality = self.models.policy.knowledge, case.volume.modality
        return tuple(
            truth.target
            for truth in case.truths
            if not (self.only_present and truth.absent)
            and not (self.only_known and not knowledge.knows(truth.target))
            and not (self.only_known and not knowledge.suits(modality))
        )

    def answers(self, case: PreparedCase, targets: Sequence[Target]) -> Iterator[MethodAnswer]:
        """One answer a target, after all of them were worked on together."""
        case = case.seen_by(self.models)
        policy = self.models.policy if self.policy_for is None else self.policy_for(case)
        config = EpisodeConfig(policy, self.models.segmenter, self.limits)
        work = _Work(case, targets, config)
        segment_targets(work, len(targets))
        for index, target in enumerate(targets):
            yield self._answer(case, target, work.progress[index])

    def _answer(self, case: PreparedCase, target: Target, progress: _Progress) -> MethodAnswer:
        if progress.fault is not None:
            failed = failure(target, progress.fault, progress.seconds)
            failed = replace(failed, turns=tuple(progress.turns))
            return replace(failed, also={LAST_MASK: failed} if self.with_last_mask else {})
        shape = case.slices(target).shape
        result = progress.result
        if result is None:
            raise AssertionError("a target has ended, or has its fault")
        answer = MethodAnswer(
            target,
            result.status,
            None if result.voxels is None else case.to_source(result.voxels),
            result.confidence
            if result.status in (TargetStatus.SEGMENTED, TargetStatus.ABSENT)
            else None,
            result.reason,
            result.turns,
            progress.seconds,
            progress.encoder_passes,
            masks_by_turn=partial(_masks_by_turn, case, result, shape, self.limits.max_turns),
        )
        also = {LAST_MASK: _last(case, answer, shape)} if self.with_last_mask else {}
        return replace(answer, also=also)


def _masks_by_turn(
    case: PreparedCase, result: TargetResult, shape: tuple[int, int, int], most: int
) -> list[NDArray[np.bool_]]:
    objects = masks_by_turn(result.turns, shape, most)
    masks: list[NDArray[np.bool_]] = []
    for number, voxels in enumerate(objects):
        same = number and np.array_equal(voxels, objects[number - 1])
        masks.append(masks[-1] if same else case.to_source(voxels))
    return masks


def _last(case: PreparedCase, answer: MethodAnswer, shape: tuple[int, int, int]) -> MethodAnswer:
    if answer.status is not TargetStatus.SEGMENTED:
        return replace(answer, masks_by_turn=None)
    mask = case.to_source(last_masks(answer.turns, shape))
    return replace(answer, mask=mask, masks_by_turn=None)


@dataclass(eq=False)
class _Progress:
    """One target on its way: its turns, outline, result, or the fault that ended it."""

    turns: list[Turn] = field(default_factory=list)
    outline: Outline | None = None
    result: TargetResult | None = None
    fault: Exception | None = None
    seconds: float = 0.0
    encoder_passes: int = 0


class _Work:
    """The work on the targets of a case (agent.volume.order.TargetWork), in memory. What a target
    raises ends that target alone.
    """

    def __init__(
        self, case: PreparedCase, targets: Sequence[Target], config: EpisodeConfig
    ) -> None:
        self._case, self._targets, self._config = case, targets, config
        self.progress = [_Progress() for _ in targets]

    def outline(self, index: int) -> bool:
        """Look for a target and draw it on its key slices."""
        target, config, progress = self._targets[index], self._config, self.progress[index]

        def draw() -> Outline:
            steps = outline_target(
                target, self._slices(index), config.policy, config.segmenter, config.limits
            )
            return run_turns(steps, progress.turns.append)

        progress.outline = self._guarded([index], draw)
        return True

    def follow(self) -> bool:
        """Follow the outlined targets through the volume, all of one window in one pass."""
        by_slices: dict[Slices, list[int]] = {}
        for index, progress in enumerate(self.progress):
            if progress.outline is not None:
                by_slices.setdefault(self._slices(index), []).append(index)
        for slices, indices in by_slices.items():
            outlines = [o for i in indices if (o := self.progress[i].outline) is not None]
            followed = self._guarded(
                indices, partial(follow_outlines, outlines, slices, self._config)
            )
            for index, outline in zip(indices, followed or (), strict=bool(followed)):
                self.progress[index].outline = outline
        return True

    def finish(self, index: int) -> bool:
        """Bring a target to its end."""
        progress = self.progress[index]
        if progress.outline is None or progress.fault is not None:
            return True
        outline = progress.outline

        def end() -> TargetResult:
            return run_turns(
                finish_target(outline, self._slices(index), self._config), progress.turns.append
            )

        progress.result = self._guarded([index], end)
        return True

    def _slices(self, index: int) -> Slices:
        return self._case.slices(self._targets[index])

    def _guarded(self, indices: Sequence[int], work: Callable[[], T]) -> T | None:
        """Run `work` for the targets with these indices, who share its time and its fault."""
        passes, began = self._case.prepared.encoder_passes, time.perf_counter()
        try:
            return work()
        except Exception as fault:  # noqa: BLE001 - one case must not end an evaluation of days
            for index in indices:
                self.progress[index].fault = fault
            return None
        finally:
            seconds = (time.perf_counter() - began) / len(indices)
            passes = self._case.prepared.encoder_passes - passes
            for place, index in enumerate(indices):
                self.progress[index].seconds += seconds
                # a common pass over the slices is counted once
                self.progress[index].encoder_passes += passes if place == 0 else 0
