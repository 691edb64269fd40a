"""A turn is a record. Prompt, audit row, replay and training example are functions of the list of
turns with their masks, the conditions they were taken under, and the volume.

agent/replay.py is the proof: it goes through them again without policy and segmenter. What a turn
does not hold: the segmenter's logits and the slice's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from agent.actions import Action
from agent.conditions import Conditions
from agent.turn_masks import TurnMasks
from agent.values import Role, Segmentation, Target, TargetStatus


class Outcome(StrEnum):
    """What became of a turn's action."""

    KEPT = "kept"  # a new best mask
    ROLLED_BACK = "rolled_back"  # a mask, but not better than the best: the best stays
    UNCHANGED = "unchanged"  # the mask did not change
    DUPLICATE = "duplicate"  # the same action was tried before; not run again
    REFUSED = "refused"  # malformed, out of range, or a prompt the segmenter does not understand
    NO_MASK = "no_mask"  # the segmenter failed, or drew nothing
    STOPPED = "stopped"
    ABSENT = "absent"


WHOLE_VOLUME = -1
"""The slice index of turns that are about the whole volume (survey, inspection)."""


@dataclass(frozen=True)
class Usage:
    """What a language model's reply took: tokens, `cost` in the site's currency, who gave it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    model: str = ""


@dataclass(frozen=True)
class Turn:
    """One action of one episode and what came of it.

    `slice_index` zero-based on the working grid, WHOLE_VOLUME for survey and inspection; `index`
    zero-based within the slice, counted on over all episodes there, so that (target, slice_index,
    index) names a turn; `reply` the policy's own words; `observation` what the policy is told next;
    `area_px`, `predicted_iou`, `score` of the mask this turn gave, None when it gave none;
    `mask_choice` which of the `candidate_ious` it was; times in seconds. `masks` what it drew: the
    mask of its slice, or those of the slices a segmenter followed to by itself, whose scores 0..1
    are `slice_scores`, lowest slice first.
    """

    slice_index: int
    index: int
    role: Role
    action: Action
    outcome: Outcome
    reply: str = ""
    observation: str = ""
    area_px: int | None = None
    predicted_iou: float | None = None
    score: float | None = None
    policy_s: float = 0.0
    segmenter_s: float = 0.0
    mask_choice: int | None = None
    candidate_ious: tuple[float, ...] = ()
    usage: Usage | None = None
    masks: TurnMasks | None = None
    slice_scores: tuple[float, ...] = ()

    @property
    def place(self) -> str:
        """Where it was, for a person: "slice 12", counted from 0, or "the whole volume"."""
        whole = self.slice_index == WHOLE_VOLUME
        return "the whole volume" if whole else f"slice {self.slice_index}"


@dataclass(frozen=True, eq=False)
class Episode:
    """All turns on one slice and the best segmentation among them; None if there is none."""

    turns: tuple[Turn, ...]
    best: Segmentation | None
    score: float
    absent: bool = False


@dataclass(frozen=True)
class SecondOpinion:
    """What another `segmenter` drew for the same prompts: the `dice` 0..1 of both masks over
    `slices` (zero-based on the working grid), None where it could draw nothing for them.
    """

    segmenter: str
    dice: float | None
    slices: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class TargetResult:
    """A target's end: `voxels` (z, y, x) bool on the working grid (None unless segmented),
    `confidence` 0..1.

    `reason` is a sentence for a person; `warnings` say what is in doubt; `window` what part of the
    intensities policy and segmenter were shown; `conditions` what the turns were taken under;
    `presence` the survey's figures by slice, () where it gave none; `assessed` the slices that the
    policy found wrong in the whole, None where it was not asked or gave no answer;
    `second_opinion` what a second segmenter drew, None without one.
    """

    target: Target
    status: TargetStatus
    voxels: NDArray[np.bool_] | None
    confidence: float
    turns: tuple[Turn, ...]
    reason: str = ""
    warnings: tuple[str, ...] = ()
    window: str = ""
    conditions: Conditions | None = None
    presence: tuple[float, ...] = ()
    assessed: tuple[int, ...] | None = None
    second_opinion: SecondOpinion | None = None
