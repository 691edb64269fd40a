"""The baseline of ideal clicks on a slice, counted as RITM counts them (NoC).

The first click is on an empty mask; each one lies in the middle of the larger error
(agent.training.clicks). Clicks go on until IoU reaches the highest goal, at most 20. NoC@q is the
number of the first click with IoU >= q, and 20 where there is none. All clicks so far go to the
segmenter, with the logits of the answer before where it takes masks; no mask is rolled back.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.case import Case
from agent.errors import SegmenterFailed
from agent.ports import Encoding, Segmenter
from agent.training.clicks import larger_error
from agent.values import Point, PromptKind, Prompts, Target, TargetStatus
from models.evaluation.methods.answers import MethodAnswer, PreparedCase, failure, targets_there
from models.evaluation.metrics import overlap
from models.evaluation.records import Clicks

MOST_CLICKS = 20
GOALS = (0.80, 0.85, 0.90)
"""The IoU to reach, in the order of the tables of the field."""


@dataclass(frozen=True, eq=False)
class OracleClicks:
    """Ideal clicks on the slice where a structure is largest, with the `segmenter`, which must take
    points. A case of a single slice has a whole object for an answer, a volume only its clicks.
    """

    segmenter: Segmenter
    name: str = "oracle-clicks"

    @property
    def names(self) -> tuple[str, ...]:
        """Its name alone."""
        return (self.name,)

    def targets(self, case: Case) -> tuple[Target, ...]:
        """Those that are in the image."""
        return targets_there(case)

    def answers(self, case: PreparedCase, targets: Sequence[Target]) -> Iterator[MethodAnswer]:
        """One answer a target."""
        for target in targets:
            began = time.perf_counter()
            try:
                answer = self._answer(case, target)
            except Exception as fault:  # noqa: BLE001 - one case must not end an evaluation of days
                answer = failure(target, fault)
            yield replace(answer, seconds=time.perf_counter() - began)

    def _answer(self, case: PreparedCase, target: Target) -> MethodAnswer:
        truth = case.working_truths[target.text]
        if not truth.any():
            raise ValueError("the truth is smaller than a voxel of the working grid")
        z, passes = int(truth.sum(axis=(1, 2)).argmax()), case.prepared.encoder_passes
        encoding = case.slices(target).encoding(z)
        masks = list(click_masks(truth[z], encoding, self.segmenter))
        agreements = [overlap(mask[None], truth[z][None]) for mask in masks]
        clicks = Clicks(tuple(d for d, _ in agreements), tuple(i for _, i in agreements))
        voxels = np.zeros_like(truth)
        voxels[z] = masks[-1]
        return MethodAnswer(
            target,
            TargetStatus.SEGMENTED,
            case.to_source(voxels) if len(truth) == 1 else None,
            encoder_passes=case.prepared.encoder_passes - passes,
            judged=len(truth) == 1,
            clicks=clicks,
        )


def click_masks(
    truth: NDArray[np.bool_], encoding: Encoding, segmenter: Segmenter
) -> Iterator[NDArray[np.bool_]]:
    """The mask (rows, columns) bool after each click, until the highest of GOALS is reached or no
    pixel is left to click. SegmenterFailed for an answer of another shape.
    """
    mask = np.zeros_like(truth)
    clicks: list[Point] = []
    prompts = Prompts()
    for _ in range(MOST_CLICKS):
        error = larger_error(mask, truth, clicks)
        if error is None:
            return
        clicks.append(error.click)
        answer = segmenter.segment(encoding, replace(prompts, points=tuple(clicks)))
        if answer.mask.shape != truth.shape:
            raise SegmenterFailed(f"its mask is {answer.mask.shape}, the slice {truth.shape}")
        mask = answer.mask
        if PromptKind.MASK in segmenter.supported_prompts:
            prompts = replace(prompts, previous_logits=answer.logits)
        yield mask
        if overlap(mask[None], truth[None])[1] >= max(GOALS):
            return


def clicks_to(iou: Sequence[float], goal: float) -> int:
    """NoC of one object: the number of the first click with IoU >= `goal`; 20 where there is
    none.
    """
    return next((number for number, value in enumerate(iou, 1) if value >= goal), MOST_CLICKS)
