"""What figures of many targets say together: intervals and tests over patients, presence,
calibration.

The patient is the unit: the slices and structures of one patient are no independent samples. So a
figure is averaged within each patient first, and patients are drawn again, or change sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 0
EXACT_PATIENTS = 13
"""Up to so many patients, all 2^n exchanges are counted; from then on RESAMPLES random ones."""

BINS = 10


@dataclass(frozen=True)
class Interval:
    """The mean over patients and its 95 % bootstrap interval; no bounds with a single patient."""

    mean: float
    low: float | None
    high: float | None
    patients: int


def over_patients(values: Sequence[float], patients: Sequence[str]) -> Interval | None:
    """The mean of the patients' means, with its interval; None without values. ValueError unless
    each value has its patient.
    """
    means = np.array(list(patient_means(values, patients).values()))
    if not means.size:
        return None
    mean, count = float(means.mean()), len(means)
    if count == 1:
        return Interval(mean, None, None, 1)
    draws = np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))
    low, high = np.percentile(means[draws].mean(axis=1), (2.5, 97.5))
    return Interval(mean, float(low), float(high), count)


def patient_means(values: Sequence[float], patients: Sequence[str]) -> dict[str, float]:
    """The mean of each patient's values."""
    by_patient: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        by_patient.setdefault(patient, []).append(value)
    return {patient: float(np.mean(of_patient)) for patient, of_patient in by_patient.items()}


@dataclass(frozen=True)
class PairedTest:
    """The mean difference over patients (ours less theirs) with its interval, and the two-sided
    `p_value` of the hypothesis that it makes no difference whose result is whose.
    """

    difference: Interval
    p_value: float
    permutations: int


def permutation_test(differences: Mapping[str, float]) -> PairedTest:
    """Test the mean of `differences` by patient by changing signs: under the hypothesis either run
    could have given either result. Exact for few patients. ValueError without a patient.
    """
    values = np.array([differences[patient] for patient in sorted(differences)])
    if not values.size:
        raise ValueError("a comparison needs at least one patient")
    interval = over_patients(values.tolist(), sorted(differences))
    if interval is None:
        raise ValueError("a comparison needs at least one patient")
    signs = _signs(len(values))
    means = np.abs((signs * values).mean(axis=1))
    as_large = int(np.count_nonzero(means >= abs(values.mean()) - 1e-12))
    if len(values) <= EXACT_PATIENTS:
        return PairedTest(interval, as_large / len(means), len(means))
    # what was observed is one of the permutations: p is never 0
    return PairedTest(interval, (as_large + 1) / (len(means) + 1), len(means))


def _signs(count: int) -> NDArray[np.float64]:
    if count <= EXACT_PATIENTS:
        return np.array(list(itertools.product((-1.0, 1.0), repeat=count)))
    return np.random.default_rng(SEED).choice((-1.0, 1.0), size=(RESAMPLES, count))


@dataclass(frozen=True)
class Presence:
    """Answers to "is it there?", counted: a structure that is there and was drawn is a true
    positive. The ratios are None where they would divide by nothing.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def sensitivity(self) -> float | None:
        """Share of the structures that are there that were drawn."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> float | None:
        """Share of the structures that are not there that were answered absent."""
        return _ratio(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN)."""
        wrong = self.false_positives + self.false_negatives
        return _ratio(2 * self.true_positives, 2 * self.true_positives + wrong)


def presence_of(present: Sequence[bool], answered: Sequence[bool]) -> Presence:
    """Count answers against the truth, in the same order."""
    pairs = list(zip(present, answered, strict=True))
    return Presence(
        pairs.count((True, True)),
        pairs.count((False, True)),
        pairs.count((True, False)),
        pairs.count((False, False)),
    )


@dataclass(frozen=True)
class Bin:
    """Targets whose confidence lies in one tenth: how many, their mean confidence and score."""

    low: float
    high: float
    count: int
    confidence: float | None
    score: float | None


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from what came of it: `ece` is the mean distance of confidence and
    score over the bins of the reliability curve, weighted by their counts.
    """

    ece: float
    bins: tuple[Bin, ...]


def calibration_of(confidences: Sequence[float], scores: Sequence[float]) -> Calibration | None:
    """The calibration of confidences 0..1 against scores 0..1; None without any. ValueError for a
    confidence outside 0..1, NaN among them.
    """
    confidence, score = np.array(confidences, dtype=float), np.array(scores, dtype=float)
    if not confidence.size:
        return None
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence lies in 0..1")
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)  # 1.0 belongs to the last bin
    bins, ece = [], 0.0
    for place in range(BINS):
        inside = places == place
        count = int(inside.sum())
        mean_confidence = float(confidence[inside].mean()) if count else None
        mean_score = float(score[inside].mean()) if count else None
        bins.append(Bin(place / BINS, (place + 1) / BINS, count, mean_confidence, mean_score))
        if mean_confidence is not None and mean_score is not None:
            ece += count / len(confidence) * abs(mean_confidence - mean_score)
    return Calibration(ece, tuple(bins))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
