"""Figures over patients, each reckoned by hand beside it."""

from __future__ import annotations

import math

import pytest

from models.evaluation.statistics import (
    calibration_of,
    over_patients,
    permutation_test,
    presence_of,
)


def test_the_patient_is_the_unit() -> None:
    # p1 has ten slices at 1.0 and p2 one at 0.0: each counts once
    interval = over_patients([1.0] * 10 + [0.0], ["p1"] * 10 + ["p2"])
    assert interval is not None
    assert (interval.mean, interval.patients) == (0.5, 2)
    assert (interval.low, interval.high) == (0.0, 1.0)  # a quarter of all draws is p2 twice


def test_an_interval_narrows_with_patients_and_holds_the_mean() -> None:
    values = [0.6, 0.8] * 50
    few = over_patients(values[:6], [str(n) for n in range(6)])
    many = over_patients(values, [str(n) for n in range(100)])
    assert few is not None
    assert few.low is not None
    assert few.high is not None
    assert many is not None
    assert many.low is not None
    assert many.high is not None
    assert few.low < many.low < 0.7 < many.high < few.high
    # the standard error is 0.1 / sqrt(100), the interval ± 1.96 of it
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.01, rel=0.05)
    assert over_patients(values, [str(n) for n in range(100)]) == many  # the same every time


def test_a_single_patient_has_no_interval() -> None:
    interval = over_patients([0.4, 0.6], ["p", "p"])
    assert interval is not None
    assert (interval.mean, interval.low, interval.high) == (0.5, None, None)
    assert over_patients([], []) is None


def test_every_value_has_its_patient() -> None:
    with pytest.raises(ValueError):
        over_patients([1.0], [])


def test_few_patients_are_tested_exactly() -> None:
    # all five better: only all signs kept or all turned give as large a mean, 2 of 32
    test = permutation_test({"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.1, "e": 0.2})
    assert (test.p_value, test.permutations) == (2 / 32, 32)
    assert test.difference.mean == pytest.approx(0.18)


def test_no_difference_has_p_1() -> None:
    assert permutation_test({"a": 0.0, "b": 0.0}).p_value == 1.0
    assert permutation_test({"a": 0.1, "b": -0.1}).p_value == 1.0


def test_many_patients_are_tested_by_random_exchanges() -> None:
    same = permutation_test({str(n): math.sin(n * 12.9898) for n in range(40)})
    better = permutation_test({str(n): 0.1 + 0.01 * math.sin(n) for n in range(40)})
    assert same.p_value > 0.2
    assert better.p_value == pytest.approx(1 / 10_001)  # never 0


def test_a_comparison_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="patient"):
        permutation_test({})


def test_presence_is_counted() -> None:
    present = [True] * 4 + [False] * 6
    answered = [True, True, True, False, True, False, False, False, False, False]
    presence = presence_of(present, answered)
    assert presence.sensitivity == 3 / 4
    assert presence.specificity == 5 / 6
    assert presence.f1 == pytest.approx(6 / (6 + 1 + 1))


def test_presence_of_nothing_divides_by_nothing() -> None:
    presence = presence_of([False], [False])
    assert (presence.sensitivity, presence.specificity, presence.f1) == (None, 1.0, None)
    assert presence_of([True], [True]).specificity is None


def test_calibration_weighs_its_bins() -> None:
    # 3 targets at 0.95 that score 0.8, 1 at 0.25 that scores 0.5, 1 at 1.0 that scores 1.0
    calibration = calibration_of([0.95, 0.95, 0.95, 0.25, 1.0], [0.8, 0.8, 0.8, 0.5, 1.0])
    assert calibration is not None
    last, third = calibration.bins[9], calibration.bins[2]
    assert (last.count, third.count) == (4, 1)
    assert last.confidence == pytest.approx((3 * 0.95 + 1) / 4)
    assert last.score == pytest.approx((3 * 0.8 + 1) / 4)
    expected = 4 / 5 * abs(0.9625 - 0.85) + 1 / 5 * 0.25
    assert calibration.ece == pytest.approx(expected)
    assert calibration.bins[0].score is None


def test_a_right_confidence_has_no_error() -> None:
    calibration = calibration_of([0.2, 0.7], [0.2, 0.7])
    assert calibration is not None
    assert calibration.ece == 0.0
    assert calibration_of([], []) is None


@pytest.mark.parametrize("confidence", [math.nan, -0.1, 1.1])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        calibration_of([0.5, confidence], [0.5, 0.5])
