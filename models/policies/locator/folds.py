"""Cross-validation of the locator over patients: what it is worth on patients that it never saw.

Each fold's network learns from the other folds' patients, and its maps, boxes and LiteMedSAM's
masks are measured on the held-out slices and on a square part of each. Everything that is chosen
is chosen by these figures; the validation patients choose nothing.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch.nn import functional

from agent.values import Prompts
from agent.volume.evidence import LIKELY
from models.policies.locator.boxes import candidate_boxes
from models.policies.locator.btcv import LabelledSlice
from models.policies.locator.examples import Examples, picture
from models.policies.locator.net import IMAGE_PX, Locator, body_position, network_input
from models.policies.locator.policy import agreement, expected_dice
from models.policies.locator.presence import area_px, presence
from models.policies.locator.structures import ORGANS
from models.runtime.encoding import Features
from models.segmenters.litemedsam import LiteMedSam

LARGE = frozenset({"liver", "spleen", "right_kidney", "left_kidney", "aorta"})
RIGHT_DICE = 0.7
"""A mask below it is a wrong one, where confidence is judged."""

ANSWERS_NAME = "answers.csv"
_SLIVER_PX = 20.0  # of the model's 256 x 256: less of an organ is neither there nor absent
_SQUARE = (IMAGE_PX, IMAGE_PX)


@dataclass(frozen=True)
class HeldOutAnswer:
    """What one organ of one held-out picture came to.

    `here` whether the picture shows it; `drawn` whether a mask was drawn (else it was called
    absent); `dice` of that mask in the model's square, 0 where nothing was drawn or nothing is
    there. `area`, `peak` of the map, its `agreement` with the mask, the segmenter's
    `predicted_iou`, and the `confidence` that the planner gives: what is known without the truth.
    """

    fold: int
    patient: str
    row: int
    part: bool
    organ: str
    here: bool
    drawn: bool
    dice: float
    area: float
    peak: float
    agreement: float
    predicted_iou: float
    confidence: float


def fold_of(patients: Sequence[str], folds: int) -> dict[str, int]:
    """The fold in which each patient is held out: in turn, in the data set's order."""
    return {patient: n % folds for n, patient in enumerate(dict.fromkeys(patients))}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The pictures of a fold: `slices` and their `examples`, made with `seed`."""

    slices: Sequence[LabelledSlice]
    examples: Examples
    seed: int
    fold: int

    def answers(
        self, locator: Locator, held_out: Sequence[int], segmenter: LiteMedSam
    ) -> Iterator[HeldOutAnswer]:
        """What `locator` answers on the slices `held_out` and on a part of each, as they are."""
        for part in (False, True):
            for row in self.examples.rows(part=part, changed=False, of=held_out).tolist():
                yield from self._of_row(locator, row, segmenter, part=part)

    def _of_row(
        self, locator: Locator, row: int, segmenter: LiteMedSam, *, part: bool
    ) -> Iterator[HeldOutAnswer]:
        shares = _shares(locator, self.examples, row)
        kind = self.examples.rounds[row // len(self.slices)]
        truth = _truth(picture(self.slices, row, kind, self.seed)[1])
        features = Features(self.examples.embedding[row].astype(np.float32), _SQUARE)
        patient = self.slices[row % len(self.slices)].patient
        for number, organ in enumerate(ORGANS, start=1):
            here = np.count_nonzero(truth == number)
            if 0 < here < _SLIVER_PX:
                continue
            drawn = _drawn(organ, shares[number], truth == number, features, segmenter)
            yield HeldOutAnswer(self.fold, patient, row, part, organ, bool(here), *drawn)


def _shares(locator: Locator, examples: Examples, row: int) -> NDArray[np.float32]:
    """Probabilities of all classes (14, 256, 256)."""
    square = examples.square[row].astype(np.float32) / 255
    with torch.inference_mode():
        logits = locator(
            network_input(
                torch.from_numpy(examples.embedding[row].astype(np.float32))[None],
                torch.from_numpy(square)[None],
                torch.from_numpy(body_position(square))[None],
            )
        )
        full = functional.interpolate(logits, size=_SQUARE, mode="bilinear", align_corners=False)
        shares: NDArray[np.float32] = full.softmax(1)[0].numpy()
    return shares


def _truth(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels (rows, columns) of a square picture at the model's 256 x 256."""
    nearest = ((np.arange(IMAGE_PX) + 0.5) * len(labels) / IMAGE_PX).astype(int)
    return np.asarray(labels[np.ix_(nearest, nearest)])


def _drawn(
    organ: str,
    expected: NDArray[np.float32],
    truth: NDArray[np.bool_],
    features: Features,
    segmenter: LiteMedSam,
) -> tuple[bool, float, float, float, float, float, float]:
    """The fields of an answer from `drawn` on: one turn, the first box."""
    area, peak = area_px(expected), float(expected.max())
    likely = presence(organ, area, alone=True)
    if likely < LIKELY:
        return False, 0.0, area, peak, 0.0, 0.0, 1 - likely
    _, box = next(candidate_boxes(expected, None))
    segmentation = segmenter.segment(features, Prompts(box=box))
    iou, agreed = segmentation.predicted_iou, agreement(segmentation.mask, expected)
    dice = dice_of(segmentation.mask, truth)
    return True, dice, area, peak, agreed, iou, expected_dice(agreed, iou) * likely


def dice_of(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice of two masks of one shape; 0 where both are empty."""
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(mask & truth) / total if total else 0.0


# --- figures ---


def figures(answers: Sequence[HeldOutAnswer]) -> Iterator[str]:
    """A line for each fold, the worst first, and one for all; whole slices, then parts."""
    for part, kind in ((False, "whole slices"), (True, "parts of slices")):
        of_kind = [answer for answer in answers if answer.part == part]
        folds = {f: [a for a in of_kind if a.fold == f] for f in {a.fold for a in of_kind}}
        for fold in sorted(folds, key=lambda fold: mean_dice(folds[fold])):
            yield f"{kind}, fold {fold}: {_summary(folds[fold])}"
        if of_kind:
            yield f"{kind}, all folds: {_summary(of_kind)}"


def mean_dice(
    answers: Sequence[HeldOutAnswer], organs: frozenset[str] = frozenset(ORGANS)
) -> float:
    """Mean Dice where an organ is there, each organ's answers alike; 0 for one that is missed."""
    dices = [answer.dice for answer in answers if answer.here and answer.organ in organs]
    return float(np.mean(dices)) if dices else float("nan")


def _summary(answers: Sequence[HeldOutAnswer]) -> str:
    away = [not answer.drawn for answer in answers if not answer.here]
    missed = [not answer.drawn for answer in answers if answer.here]
    drawn = [answer for answer in answers if answer.drawn]
    confidence = np.array([answer.confidence for answer in drawn])
    right = np.array([answer.dice >= RIGHT_DICE for answer in drawn])
    return (
        f"Dice {mean_dice(answers, LARGE):.3f} large five, {mean_dice(answers):.3f} all 13 "
        f"(of {len(missed)}, {_share(missed):.3f} missed), absent right {_share(away):.3f} "
        f"of {len(away)}; confidence of {len(drawn)} masks: AUC {auc(confidence, right):.3f}, "
        f"error {calibration_error(confidence, right):.3f}"
    )


def _share(cases: Sequence[bool]) -> float:
    return float(np.mean(cases)) if cases else float("nan")


def auc(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """How often a right mask has the higher confidence of the two, over pairs of a right and a
    wrong one; ties count half, NaN without both kinds.
    """
    if right.all() or not right.any():
        return float("nan")
    # Mann and Whitney: the mean rank of the right ones, less what they have among themselves
    ranks = rankdata(confidence)
    count = np.count_nonzero(right)
    pairs = count * (len(right) - count)
    return float((ranks[right].sum() - count * (count + 1) / 2) / pairs)


def calibration_error(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 10
) -> float:
    """The mean distance of confidence and share of right masks over tenths of confidence, weighted
    by how many lie in each.
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    distances = [
        np.count_nonzero(place == n) * abs(confidence[place == n].mean() - right[place == n].mean())
        for n in np.unique(place)
    ]
    return float(sum(distances) / len(confidence)) if len(confidence) else float("nan")


def write_answers(answers: Sequence[HeldOutAnswer], path: Path) -> None:
    """The answers as a table with a heading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(HeldOutAnswer)])
        writer.writeheader()
        writer.writerows(asdict(answer) for answer in answers)
