"""One target while it is worked on: masks, scores, turns and warnings."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent.actions import Absent, Action, Malformed, NameSlices, Stop
from agent.conditions import Conditions, Drawing, PictureSettings, ShowsPictures
from agent.episode.loop import run_episode, run_together
from agent.episode.state import Clock, Objection, no_objection
from agent.episode.tidy import tidy_slice
from agent.limits import Limits
from agent.ports import (
    Observation,
    Policy,
    Reply,
    Segmenter,
    Slices,
    VolumePrompter,
    VolumeSegmenter,
)
from agent.turn_masks import TurnMasks
from agent.turns import WHOLE_VOLUME, Episode, Outcome, Turn
from agent.values import PromptKind, Role, Segmentation, Target, VolumeSegmentation
from agent.volume.neighbours import Neighbourhood
from agent.volume.prompter import EpisodePrompter, SliceOfObject


@dataclass(frozen=True)
class EpisodeConfig:
    """The policy, segmenter, limits and clock of the work on a target. A policy that is shown
    pictures decides (`Limits.planner_decides`).
    """

    policy: Policy
    segmenter: Segmenter
    limits: Limits = field(default_factory=Limits)
    clock: Clock = time.perf_counter

    def __post_init__(self) -> None:
        if isinstance(self.policy, ShowsPictures):  # it has looked at what it judges
            object.__setattr__(self, "limits", replace(self.limits, planner_decides=True))


@dataclass(eq=False)
class TargetState:
    """One target so far. It is mutable, and never leaves this room.

    `masks` and `scores` by slice index, only of slices with a mask; `key_slices` those worked on in
    full; `presence` as in Localisation; `warnings` for a person; `assessed` the slices that the
    policy's assessment names, None before it; `interpolated` the slices whose mask no model drew,
    with the two drawn slices (lower, upper) that it was interpolated from; `second_looks` those
    whose mask a planner that decides drew, or said to be right, on a second look.
    """

    target: Target
    slices: Slices
    config: EpisodeConfig
    presence: tuple[float, ...] = ()
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    key_slices: list[int] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    assessed: tuple[int, ...] | None = None
    interpolated: dict[int, tuple[int, int]] = field(default_factory=dict)
    second_looks: set[int] = field(default_factory=set)

    @property
    def limits(self) -> Limits:
        """The limits all episodes share."""
        return self.config.limits

    def neighbourhood(self, slices_apart: int = 1) -> Neighbourhood:
        """How far the structure may move between two slices that lie `slices_apart`."""
        z_mm, y_mm, x_mm = self.slices.spacing_mm
        return Neighbourhood.of(self.limits, (slices_apart * z_mm, y_mm, x_mm))

    def likely(self, z: int) -> bool:
        """Whether the target's presence on slice `z` is high enough to work there."""
        if z in self.absences:
            return False
        return not self.presence or self.presence[z] >= self.limits.presence_floor

    @property
    def absences(self) -> dict[int, str]:
        """The slices on which a planner that decides found no target when it worked on them in
        full, and why not: no mask is followed into them.
        """
        if not self.limits.planner_decides:
            return {}
        in_full = [turn for turn in self.turns if turn.role in (Role.KEY, Role.REVIEW)]
        last_turns = {turn.slice_index: turn for turn in in_full}
        return {
            z: turn.action.reason
            for z, turn in last_turns.items()
            if turn.outcome is Outcome.ABSENT and isinstance(turn.action, Absent)
        }

    def draw(
        self,
        z: int,
        role: Role,
        *,
        carried: NDArray[np.bool_] | None = None,
        suspect: Segmentation | None = None,
        doubt: str = "",
        object_outline: NDArray[np.bool_] | None = None,
        objection: Objection = no_objection,
    ) -> Generator[Turn, None, Episode]:
        """Work on slice `z`: yields its turns, and enters the mask if one was kept.

        `carried` is the mask that the neighbours suggest; `suspect` the mask under review, which
        the policy is shown as the latest one and which is not put back, `doubt` why it is under
        review, `object_outline` how much of the object it saw when it named the slice. A
        VolumePrompter draws the whole object: the one that was kept replaces the masks of all
        slices (`_put_object`).
        """
        start = Observation(
            self.target,
            self.slices,
            z,
            role,
            latest=suspect,
            carried=carried,
            doubt=doubt,
            object_outline=object_outline,
        )
        episode = yield from self._recorded(start, objection)
        if episode.best is not None:
            self.put(z, episode.best.mask, episode.score)
        if isinstance(episode.best, SliceOfObject) and episode.best.whole is not None:
            changed = self._put_object(z, episode.best.whole)
            if changed:
                yield record_propagation(self, [z], {n: self.masks[n] for n in changed}, 0.0)
        return episode

    def draw_together(
        self, slice_indices: Sequence[int], role: Role
    ) -> Generator[Turn, None, None]:
        """Work on slices without a mask in lock-step; yields their turns, enters the masks."""
        starts = [Observation(self.target, self.slices, z, role) for z in slice_indices]
        config = self.config
        turns = run_together(
            starts, config.policy, config.segmenter, self.limits, clock=config.clock
        )
        while True:
            try:
                _, turn = next(turns)
            except StopIteration as ended:
                episodes: list[Episode] = ended.value
                break
            self.turns.append(turn)
            yield turn
        for z, episode in zip(slice_indices, episodes, strict=True):
            if episode.best is not None:
                self.put(z, episode.best.mask, episode.score)

    def record_replies(self, role: Role, replies: Iterable[Reply]) -> Generator[Turn, None, None]:
        """Append the policy's replies about the whole volume; yields a turn a reply."""
        for reply in replies:
            outcome, observation = _outcome_of(reply.action)
            turn = Turn(
                slice_index=WHOLE_VOLUME,
                index=_count_on(self.turns, WHOLE_VOLUME),
                role=role,
                action=reply.action,
                outcome=outcome,
                reply=reply.text,
                observation=observation,
                policy_s=reply.seconds,
                usage=reply.usage,
            )
            self.turns.append(turn)
            yield turn

    def record_slices(
        self,
        role: Role,
        observation: str,
        masks: Mapping[int, NDArray[np.bool_]],
        seconds: float = 0.0,
    ) -> Turn:
        """Append, as a turn of the whole volume, `masks` whose scores are entered already and for
        which the policy was not asked.
        """
        slices = tuple(sorted(masks))
        turn = Turn(
            slice_index=WHOLE_VOLUME,
            index=_count_on(self.turns, WHOLE_VOLUME),
            role=role,
            action=NameSlices(slices),
            outcome=Outcome.KEPT if slices else Outcome.NO_MASK,
            observation=observation,
            segmenter_s=seconds,
            masks=TurnMasks.of(masks) if slices else None,
            slice_scores=tuple(self.scores[z] for z in slices),
        )
        self.turns.append(turn)
        return turn

    def put(
        self,
        z: int,
        mask: NDArray[np.bool_],
        score: float,
        sources: tuple[int, int] | None = None,
    ) -> None:
        """Enter a mask (rows, columns) and its score 0..1 for slice `z`; `sources` are the two
        slices it was interpolated from, None for one that was drawn.
        """
        self.masks[z], self.scores[z] = mask, score
        self.interpolated.pop(z, None)
        if sources is not None:
            self.interpolated[z] = sources

    def put_propagated(
        self, z: int, segmentation: Segmentation, certainty: float
    ) -> NDArray[np.bool_]:
        """Enter a model's mask for slice `z` without an episode; returns the tidied mask.

        Its score is the policy's times the model's own `certainty` (0..1); 0 where that is NaN.
        """
        tidy = replace(segmentation, mask=tidy_slice(segmentation.mask))
        observation = Observation(self.target, self.slices, z, Role.CARRY)
        # two opinions as if they were independent: both must hold for the mask to be good
        score = self.config.policy.score(observation, tidy) * certainty
        self.put(z, tidy.mask, float(np.clip(np.nan_to_num(score), 0.0, 1.0)))
        return tidy.mask

    def take(self, z: int) -> tuple[NDArray[np.bool_], float]:
        """Remove and return the mask and score of slice `z`."""
        self.interpolated.pop(z, None)
        self.second_looks.discard(z)
        return self.masks.pop(z), self.scores.pop(z)

    def voxels(self) -> NDArray[np.bool_]:
        """All masks as one object (z, y, x) bool."""
        voxels = np.zeros(self.slices.shape, dtype=np.bool_)
        for z, mask in self.masks.items():
            voxels[z] = mask
        return voxels

    def _put_object(self, z: int, whole: VolumeSegmentation) -> list[int]:
        """Enter an object that was prompted on slice `z` for all other slices; returns those with a
        new mask. Slices that do not show the object lose theirs; but all masks stay as they are
        where the prompter takes no mask, for its answer then knows nothing of them.
        """
        changed, replaces = [], PromptKind.MASK in self.config.segmenter.supported_prompts
        for other in set(range(len(whole.mask))) - {z} - self.absences.keys():
            segmentation, earlier = SliceOfObject.of(whole, other), self.masks.get(other)
            if earlier is not None and not replaces:
                continue
            if not segmentation.mask.any():
                if earlier is not None:
                    self.take(other)
            elif earlier is None or not np.array_equal(earlier, tidy_slice(segmentation.mask)):
                self.put_propagated(other, segmentation, whole.score)
                changed.append(other)
        return changed

    def _segmenter_on(self, start: Observation) -> Segmenter:
        """The segmenter of an episode. A VolumePrompter starts from the object so far, in which the
        slice under review still has its mask.
        """
        segmenter, z = self.config.segmenter, start.slice_index
        if not isinstance(segmenter, VolumePrompter):
            return segmenter
        voxels = self.voxels()
        if start.latest is not None:
            voxels[z] = start.latest.mask
        return EpisodePrompter(segmenter, self.slices, z, voxels)

    def _recorded(self, start: Observation, objection: Objection) -> Generator[Turn, None, Episode]:
        episode = run_episode(
            start,
            self.config.policy,
            self._segmenter_on(start),
            self.limits,
            first_index=_count_on(self.turns, start.slice_index),
            objection=objection,
            clock=self.config.clock,
        )
        while True:
            try:
                turn = next(episode)
            except StopIteration as ended:
                return _returned(ended)
            self.turns.append(turn)
            yield turn


def confirmed(episode: Episode, limits: Limits) -> bool:
    """Whether a planner that decides ended a review by saying that the mask in doubt is right."""
    stopped = bool(episode.turns) and episode.turns[-1].outcome is Outcome.STOPPED
    return limits.planner_decides and episode.best is None and stopped


def note_second_look(target_state: TargetState, z: int, episode: Episode) -> None:
    """Note whether the planner's second look at slice `z` settles the mask that it has now."""
    limits = target_state.limits
    has_new_mask = episode.best is not None and limits.planner_decides
    if z in target_state.masks and (has_new_mask or confirmed(episode, limits)):
        target_state.second_looks.add(z)


def trusted_slices(target_state: TargetState) -> list[int]:
    """The slices with a mask that the planner answers for, ascending: what was followed from others
    gives way to them.
    """
    answered_for = target_state.second_looks.union(target_state.key_slices)
    return sorted(answered_for & target_state.masks.keys())


def record_propagation(
    target_state: TargetState,
    seeds: Iterable[int],
    masks: Mapping[int, NDArray[np.bool_]],
    seconds: float,
) -> Turn:
    """Append a propagation from slices `seeds` to those of `masks`."""
    observation = f"followed from {listed(seeds)} to {len(masks)} more slices"
    return target_state.record_slices(Role.CARRY, observation, masks, seconds)


def listed(slices: Iterable[int]) -> str:
    """Slices for a person: "slices 5, 8"."""
    named = sorted(slices)
    return f"slice{'s' if len(named) > 1 else ''} {', '.join(map(str, named))}"


def conditions_of(config: EpisodeConfig, slices: Slices) -> Conditions:
    """The conditions of the turns on `slices`."""
    policy, segmenter = config.policy, config.segmenter
    drawing = Drawing.PER_SLICE
    if isinstance(segmenter, VolumePrompter):
        drawing = Drawing.WHOLE
    elif isinstance(segmenter, VolumeSegmenter):
        drawing = Drawing.FOLLOWS
    return Conditions(
        slices.shape,
        slices.spacing_mm,
        slices.levels,
        config.limits,
        segmenter.supported_prompts,
        drawing,
        policy.pictures if isinstance(policy, ShowsPictures) else PictureSettings(),
    )


def _count_on(turns: Iterable[Turn], z: int) -> int:
    return sum(turn.slice_index == z for turn in turns)


def _outcome_of(action: Action) -> tuple[Outcome, str]:
    """The outcome of an answer about the whole volume, and the policy's observation."""
    match action:
        case NameSlices():
            return Outcome.KEPT, ""
        case Absent():
            return Outcome.ABSENT, ""
        case Stop():
            return Outcome.STOPPED, ""
        case Malformed(fault):
            return Outcome.REFUSED, fault
        case _:
            return (
                Outcome.REFUSED,
                "this is the whole volume: name slices, or say that it is absent",
            )


def _returned(ended: StopIteration) -> Episode:
    episode: Episode = ended.value
    return episode
