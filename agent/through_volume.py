"""A target through the whole volume: survey, key slices, carried both ways, reviewed, summed up."""

from __future__ import annotations

import time
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from agent.canvas import Canvas, Workers
from agent.carry import carry
from agent.desk import Clock
from agent.errors import AgentError
from agent.limits import Limits
from agent.ports import Policy, Segmenter, Slices, Survey
from agent.review import review
from agent.tidy import tidy_object
from agent.turns import Outcome, TargetResult, Turn
from agent.values import Role, Target, TargetStatus

_DOUBTFUL = 0.5  # a confidence below this is worth a warning
_WORTH_SAYING = 0.02  # of the voxels, left out as parts that hang on nothing
_UNKNOWN_PRESENCE = 0.5  # of a survey that gave no figures


def segment_target(
    target: Target,
    slices: Slices,
    policy: Policy,
    segmenter: Segmenter,
    limits: Limits | None = None,
    *,
    clock: Clock = time.perf_counter,
) -> Generator[Turn, None, TargetResult]:
    """Segment one target in one volume; yields every turn as it happens, returns the TargetResult.

    A target the policy does not know, or a survey the segmenter fails at, ends FAILED with the reason;
    a structure that is not there ends ABSENT. AgentError never leaves; other errors pass through.
    """
    canvas = Canvas(target, slices, Workers(policy, segmenter, limits or Limits(), clock))
    try:
        policy.check(target)
        survey = policy.survey(target, slices)
    except AgentError as error:
        return _ended(canvas, TargetStatus.FAILED, str(error))
    if survey.absent:
        reason = survey.reason or "not found on any slice"
        return _ended(canvas, TargetStatus.ABSENT, reason, 1.0 - _presence(survey))
    canvas.presence = survey.presence
    yield from _work_on_key_slices(canvas, survey)
    if not canvas.masks:
        return _nothing_drawn(canvas, survey)
    for z in tuple(canvas.key_slices):
        yield from carry(canvas, z, 1)
        yield from carry(canvas, z, -1)
    yield from review(canvas)
    return _result(canvas, survey)


def _work_on_key_slices(canvas: Canvas, survey: Survey) -> Generator[Turn, None, None]:
    depth = canvas.slices.shape[0]
    wanted = [int(z) for z in dict.fromkeys(survey.key_slices) if 0 <= z < depth]
    for z in wanted[: canvas.limits.key_slices]:
        episode = yield from canvas.draw(z, Role.KEY)
        if episode.best is not None:
            canvas.key_slices.append(z)


def _nothing_drawn(canvas: Canvas, survey: Survey) -> TargetResult:
    """The end of a target that the survey expected and no key slice showed."""
    last_turns = {turn.slice_index: turn for turn in canvas.turns}
    if canvas.turns and all(turn.outcome is Outcome.ABSENT for turn in last_turns.values()):
        return _ended(
            canvas,
            TargetStatus.ABSENT,
            "looked for on the likeliest slices and not found there",
            1.0 - _presence(survey),
        )
    said = [turn.observation for turn in canvas.turns if turn.observation]
    why = said[-1] if said else "the planner named no slice of this volume"
    return _ended(canvas, TargetStatus.FAILED, f"no usable mask was drawn: {why}")


def _result(canvas: Canvas, survey: Survey) -> TargetResult:
    drawn = canvas.voxels()
    if not drawn.any():
        return _ended(canvas, TargetStatus.FAILED, "no slice's mask stood up to the review")
    voxels = tidy_object(drawn, canvas.key_slices)
    left_out = 1.0 - np.count_nonzero(voxels) / np.count_nonzero(drawn)
    if left_out >= _WORTH_SAYING:
        canvas.warnings.append(
            f"{100 * left_out:.0f} % of what was drawn lay apart from the rest and was left out"
        )
    confidence = _confidence(canvas, voxels, survey)
    return TargetResult(
        target=canvas.target,
        status=TargetStatus.SEGMENTED,
        voxels=voxels,
        confidence=confidence,
        turns=tuple(canvas.turns),
        warnings=(*canvas.warnings, *_doubts(voxels, confidence)),
        window=canvas.slices.window,
    )


def _confidence(canvas: Canvas, voxels: NDArray[np.bool_], survey: Survey) -> float:
    """Mean score of the slices, weighted by area, times how sure the survey was of the key slices."""
    areas = np.count_nonzero(voxels, axis=(1, 2))
    scores = np.array([canvas.scores.get(z, 0.0) for z in range(len(areas))])
    presence = 1.0
    if survey.presence:
        presence = max(survey.presence[z] for z in canvas.key_slices)
    return float(np.clip(np.average(scores, weights=areas) * presence, 0.0, 1.0))


def _doubts(voxels: NDArray[np.bool_], confidence: float) -> list[str]:
    doubts = []
    if len(voxels) > 1:
        doubts += [
            f"the structure is cut off by the {edge} edge of the volume"
            for edge, z in (("lower", 0), ("upper", -1))
            if voxels[z].any()
        ]
    if confidence < _DOUBTFUL:
        doubts.append(f"the confidence is only {confidence:.2f}: check the outline")
    return doubts


def _presence(survey: Survey) -> float:
    return max(survey.presence, default=_UNKNOWN_PRESENCE)


def _ended(
    canvas: Canvas, status: TargetStatus, reason: str, confidence: float = 0.0
) -> TargetResult:
    """A result without a mask."""
    return TargetResult(
        target=canvas.target,
        status=status,
        voxels=None,
        confidence=float(np.clip(confidence, 0.0, 1.0)),
        turns=tuple(canvas.turns),
        reason=reason,
        warnings=tuple(canvas.warnings),
        window=canvas.slices.window,
    )
