"""A target before it goes through the volume: the key slices' masks, or its early end.

An Outline is a value that can be stored in a file, so that interrupted work goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.episode.state import SEGMENTER_FAILED, Clock
from agent.episode.undrawn import why_undrawn
from agent.errors import AgentError, NoAnswer
from agent.limits import Limits
from agent.ports import BatchPolicy, Localisation, Policy, Segmenter, Slices, VolumePrompter
from agent.turns import WHOLE_VOLUME, Outcome, TargetResult, Turn
from agent.values import Role, Target, TargetStatus
from agent.volume.between import drawing_stride
from agent.volume.evidence import LIKELY, SUFFICIENT_SCORE, likeliest, thin_evidence
from agent.volume.suitability import require_suited
from agent.volume.target_state import EpisodeConfig, TargetState, conditions_of, listed

_UNKNOWN_PRESENCE = 0.5  # where the policy gives no figures


@dataclass(frozen=True, eq=False)
class Outline:
    """A target's masks (rows, columns) bool by slice, their scores 0..1, and their turns.

    `key_slices` were worked on in full; `presence` as in Localisation; `followed` whether the masks
    were propagated through the volume; `ended` the result of a target without a mask.
    """

    target: Target
    presence: tuple[float, ...] = ()
    masks: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)
    key_slices: tuple[int, ...] = ()
    turns: tuple[Turn, ...] = ()
    warnings: tuple[str, ...] = ()
    followed: bool = False
    ended: TargetResult | None = None

    @classmethod
    def of(cls, target_state: TargetState, *, followed: bool = False) -> Outline:
        """The outline of a state."""
        return cls(
            target_state.target,
            target_state.presence,
            dict(target_state.masks),
            dict(target_state.scores),
            tuple(target_state.key_slices),
            tuple(target_state.turns),
            tuple(target_state.warnings),
            followed,
        )

    def target_state(self, slices: Slices, config: EpisodeConfig) -> TargetState:
        """The state to go on from."""
        return TargetState(
            self.target,
            slices,
            config,
            self.presence,
            dict(self.masks),
            dict(self.scores),
            list(self.key_slices),
            list(self.turns),
            list(self.warnings),
        )


def outline_target(
    target: Target,
    slices: Slices,
    policy: Policy,
    segmenter: Segmenter,
    limits: Limits | None = None,
    *,
    clock: Clock = time.perf_counter,
) -> Generator[Turn, None, Outline]:
    """Localise the target and work on its key slices; yields every turn, returns the Outline.

    A target that the policy does not know, in an image that it was not made for, or that it cannot
    localise ends FAILED with the reason; an absent structure ends ABSENT, one that is likely on a
    slice and could not be drawn UNCERTAIN, as does any in a view unlike what the policy learnt,
    before anything is drawn. AgentError never leaves; other errors pass through.
    """
    target_state = TargetState(
        target, slices, EpisodeConfig(policy, segmenter, limits or Limits(), clock)
    )
    try:
        remark = require_suited(policy, target, slices.modality)
        localisation = policy.localise(target, slices)
    except NoAnswer as error:
        yield from target_state.record_replies(Role.SURVEY, error.replies)
        return _ended(target_state, TargetStatus.FAILED, str(error))
    except AgentError as error:
        return _ended(target_state, TargetStatus.FAILED, str(error))
    yield from target_state.record_replies(Role.SURVEY, localisation.replies)
    target_state.presence = localisation.presence
    target_state.warnings += [*([remark] if remark else []), *localisation.doubts]
    if localisation.unlike:  # neither a mask nor an absence would be worth more than a guess
        return _ended(target_state, TargetStatus.UNCERTAIN, localisation.unlike)
    if localisation.absent:
        return _nowhere(target_state, localisation)
    try:
        yield from _work_on_key_slices(target_state, localisation)
    except AgentError as error:
        return _ended(target_state, TargetStatus.FAILED, str(error))
    if not target_state.masks:
        return _without_mask(target_state, localisation)
    doubt = thin_evidence(target_state.presence, slices.spacing_mm[0])
    best = max(target_state.scores.values())
    if doubt and best < SUFFICIENT_SCORE:
        reason = f"{doubt}, and what was drawn there does not agree with it"
        return _ended(target_state, TargetStatus.UNCERTAIN, reason)
    target_state.warnings += [doubt] if doubt else []
    return Outline.of(target_state, followed=isinstance(segmenter, VolumePrompter))


def ended_result(
    target_state: TargetState, status: TargetStatus, reason: str, confidence: float = 0.0
) -> TargetResult:
    """A result without a mask."""
    return TargetResult(
        target=target_state.target,
        status=status,
        voxels=None,
        confidence=float(np.clip(confidence, 0.0, 1.0)),
        turns=tuple(target_state.turns),
        reason=reason,
        warnings=tuple(target_state.warnings),
        window=target_state.slices.window,
        conditions=conditions_of(target_state.config, target_state.slices),
        presence=target_state.presence,
        assessed=target_state.assessed,
    )


def _work_on_key_slices(
    target_state: TargetState, localisation: Localisation
) -> Generator[Turn, None, None]:
    depth = target_state.slices.shape[0]
    named = [int(z) for z in dict.fromkeys(localisation.key_slices) if 0 <= z < depth]
    key_slices = named[: target_state.limits.key_slices]
    config = target_state.config
    if isinstance(config.policy, BatchPolicy) and not isinstance(config.segmenter, VolumePrompter):
        yield from target_state.draw_together(key_slices, Role.KEY)
    else:
        for z in key_slices:
            if z not in target_state.masks:  # a VolumePrompter's object may have reached it
                yield from target_state.draw(z, Role.KEY)
    absent = [z for z in key_slices if z in target_state.absences]
    if 2 * len(absent) > len(key_slices):
        # the contact sheet misled the planner, or the target is small: what lies beside is looked
        # at before a mask is followed there, or the whole is called absent
        beside = _beside(target_state, key_slices)
        for z in beside:
            yield from target_state.draw(z, Role.KEY)
        key_slices = [*key_slices, *beside]
    target_state.key_slices += [z for z in key_slices if z in target_state.masks]
    seen_nothing = {z: target_state.absences[z] for z in key_slices if z in target_state.absences}
    if seen_nothing and target_state.masks:
        why = _reasons(seen_nothing)
        target_state.warnings.append(
            f"not seen on {listed(seen_nothing)}, where it was looked for"
            + (f": {why}" * bool(why))
        )


def _beside(target_state: TargetState, key_slices: Sequence[int]) -> list[int]:
    """The next slices to be drawn on both sides of the key slices, without those worked on."""
    slices, limits = target_state.slices, target_state.limits
    stride = drawing_stride(slices.spacing_mm[0], limits.draw_step_mm)
    beside = dict.fromkeys(n for z in key_slices for n in (z - stride, z + stride))
    in_volume = [z for z in beside if 0 <= z < slices.shape[0] and z not in key_slices]
    return [z for z in in_volume if z not in target_state.masks and target_state.likely(z)]


def _reasons(absences: Mapping[int, str]) -> str:
    """The planner's own reasons, each once; "" where it gave none."""
    return "; ".join(dict.fromkeys(reason for reason in absences.values() if reason))


def _nowhere(target_state: TargetState, localisation: Localisation) -> Outline:
    """The end of a target that the policy names no slice for: absent only where its own figures
    agree.
    """
    highest = likeliest(localisation.presence)
    if highest >= LIKELY:
        z = localisation.presence.index(highest)
        reason = f"slice {z} looks like it, and none was named to draw it on"
        said = f": {localisation.reason}" if localisation.reason else ""
        return _ended(target_state, TargetStatus.UNCERTAIN, f"{reason}{said}")
    # as sure that it is nowhere as the likeliest slice is unlikely to show it
    reason = localisation.reason or "not found on any slice"
    return _ended(target_state, TargetStatus.ABSENT, reason, 1.0 - _highest_presence(localisation))


def _without_mask(target_state: TargetState, localisation: Localisation) -> Outline:
    """The end of a target that was localised and has a mask on no key slice."""
    drawing = [turn for turn in target_state.turns if turn.slice_index != WHOLE_VOLUME]
    last_turns = {turn.slice_index: turn for turn in drawing}
    likely = likeliest(localisation.presence) >= LIKELY
    if drawing and all(turn.outcome is Outcome.ABSENT for turn in last_turns.values()):
        why = _reasons(target_state.absences)
        if likely:
            reason = "it is likely on some slices, and was not found on those that were looked at"
            return _ended(
                target_state, TargetStatus.UNCERTAIN, f"{reason}: {why}" if why else reason
            )
        reason = why or "looked for on the likeliest slices and not found there"
        return _ended(
            target_state, TargetStatus.ABSENT, reason, 1.0 - _highest_presence(localisation)
        )
    why = why_undrawn(drawing, target_state.config.segmenter.supported_prompts)
    if (
        likely
        and any(turn.outcome is Outcome.NO_MASK for turn in drawing)
        and not any(turn.observation.startswith(SEGMENTER_FAILED) for turn in drawing)
    ):
        reason = f"it is likely on some slices, and could not be drawn there: {why}"
        return _ended(target_state, TargetStatus.UNCERTAIN, reason)
    return _ended(target_state, TargetStatus.FAILED, f"no usable mask was drawn: {why}")


def _highest_presence(localisation: Localisation) -> float:
    return max(localisation.presence, default=_UNKNOWN_PRESENCE)


def _ended(
    target_state: TargetState, status: TargetStatus, reason: str, confidence: float = 0.0
) -> Outline:
    result = ended_result(target_state, status, reason, confidence)
    return Outline(target_state.target, turns=result.turns, warnings=result.warnings, ended=result)
