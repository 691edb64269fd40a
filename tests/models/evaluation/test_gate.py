"""The gate: a policy is put in use only where it is shown to be no worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import EvaluationFailed
from models.evaluation.gate import LEAST_PATIENTS, judge
from tests.support.training.evaluations import RUN, evaluation

PATIENTS = 12


def test_a_policy_that_is_better_on_each_patient_is_accepted(tmp_path: Path) -> None:
    old = evaluation(tmp_path / "old", [0.7] * PATIENTS)
    new = evaluation(tmp_path / "new", [0.8] * PATIENTS)
    verdict = judge(new, old)
    assert verdict.accepted
    assert verdict.difference == pytest.approx(0.1)
    assert verdict.patients == PATIENTS


def test_a_policy_that_is_worse_on_each_patient_is_not(tmp_path: Path) -> None:
    old = evaluation(tmp_path / "old", [0.8] * PATIENTS)
    new = evaluation(tmp_path / "new", [0.7] * PATIENTS)
    verdict = judge(new, old)
    assert not verdict.accepted
    assert "the score changes by -0.100 over 12 patients" in verdict.reason


def test_a_small_loss_within_the_margin_is_accepted_and_beyond_it_is_not(tmp_path: Path) -> None:
    old = evaluation(tmp_path / "old", [0.8] * PATIENTS)
    new = evaluation(tmp_path / "new", [0.795] * PATIENTS)
    assert judge(new, old, margin=0.01).accepted
    assert not judge(new, old, margin=0.001).accepted


def test_a_difference_that_is_not_shown_is_no_leave(tmp_path: Path) -> None:
    """The mean is better, but half of the patients lose much: it may well be worse."""
    old = evaluation(tmp_path / "old", [0.6] * PATIENTS)
    new = evaluation(tmp_path / "new", [0.9, 0.35] * (PATIENTS // 2))
    verdict = judge(new, old)
    assert verdict.difference > 0
    assert verdict.low is not None
    assert verdict.low < -0.01
    assert not verdict.accepted


def test_too_few_patients_tell_nothing(tmp_path: Path) -> None:
    few = LEAST_PATIENTS - 1
    old = evaluation(tmp_path / "old", [0.1] * few)
    new = evaluation(tmp_path / "new", [0.9] * few)
    verdict = judge(new, old)
    assert not verdict.accepted
    assert f"{few} patients are too few" in verdict.reason


def test_other_conditions_are_not_taken_for_the_policys_doing(tmp_path: Path) -> None:
    old = evaluation(tmp_path / "old", [0.7] * PATIENTS, replace(RUN, max_turns=2))
    new = evaluation(tmp_path / "new", [0.8] * PATIENTS)
    with pytest.raises(EvaluationFailed, match=r"other conditions \(most turns"):
        judge(new, old)
    other = evaluation(tmp_path / "other", [0.7] * PATIENTS, replace(RUN, weights=("a", "c")))
    with pytest.raises(EvaluationFailed, match="segmenter's weights"):
        judge(new, other)


def test_other_targets_are_refused(tmp_path: Path) -> None:
    old = evaluation(tmp_path / "old", [0.7] * (PATIENTS - 1))
    new = evaluation(tmp_path / "new", [0.8] * PATIENTS)
    with pytest.raises(EvaluationFailed, match="other data"):
        judge(new, old)


def test_an_evaluation_that_has_not_ended_is_refused(tmp_path: Path) -> None:
    old = evaluation(tmp_path / "old", [0.7] * PATIENTS, ended=False)
    new = evaluation(tmp_path / "new", [0.8] * PATIENTS)
    with pytest.raises(EvaluationFailed, match="has not ended"):
        judge(new, old)


@pytest.mark.parametrize("margin", [-0.01, 1.5, float("nan")])
def test_a_margin_is_a_share(tmp_path: Path, margin: float) -> None:
    with pytest.raises(ValueError, match="a margin is 0 to 1"):
        judge(tmp_path, tmp_path, margin)
