"""Figures of cross-validation: folds by patient, the worst first, and what confidence is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.policies.locator.folds import (
    HeldOutAnswer,
    auc,
    calibration_error,
    dice_of,
    figures,
    fold_of,
    mean_dice,
    write_answers,
)

ANSWER = HeldOutAnswer(0, "001", 0, False, "liver", True, True, 0.9, 500.0, 1.0, 0.9, 0.9, 0.8)


def test_a_patient_is_in_one_fold_and_the_folds_are_alike_in_size() -> None:
    folds = fold_of(["a", "a", "b", "c", "c", "d", "e", "a"], 2)

    assert folds == {"a": 0, "b": 1, "c": 0, "d": 1, "e": 0}


def test_the_worst_fold_comes_first_and_parts_stand_apart() -> None:
    # Arrange: fold 1 misses an organ, and parts are worse than whole slices
    missed = replace(ANSWER, fold=1, drawn=False, dice=0.0)
    answers = [ANSWER, replace(ANSWER, fold=1), missed]
    answers += [replace(ANSWER, part=True, dice=0.3)]

    # Act
    lines = list(figures(answers))

    # Assert
    assert [line.partition(": ")[0] for line in lines] == [
        "whole slices, fold 1",
        "whole slices, fold 0",
        "whole slices, all folds",
        "parts of slices, fold 0",
        "parts of slices, all folds",
    ]
    assert "Dice 0.450 large five, 0.450 all 13 (of 2, 0.500 missed)" in lines[0]
    assert "Dice 0.300 large five" in lines[-1]


def test_the_mean_counts_what_is_there_and_a_miss_as_nothing() -> None:
    missed = replace(ANSWER, organ="spleen", drawn=False, dice=0.0)
    false_find = replace(ANSWER, organ="pancreas", here=False, dice=0.0)

    assert mean_dice([ANSWER, missed, false_find]) == pytest.approx(0.45)
    assert mean_dice([ANSWER, missed], frozenset({"liver"})) == pytest.approx(0.9)


def test_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    right = np.array([True, False, True, False])

    assert auc(np.array([0.9, 0.1, 0.8, 0.2]), right) == 1
    assert auc(np.array([0.1, 0.9, 0.2, 0.8]), right) == 0
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), right) == 0.5
    # pairs (0.9, 0.4), (0.9, 0.2), (0.3, 0.2) in order, (0.3, 0.4) not
    assert auc(np.array([0.9, 0.4, 0.3, 0.2]), right) == 0.75
    assert np.isnan(auc(np.array([0.5]), np.array([True])))


def test_the_calibration_error_is_that_of_the_tenths() -> None:
    confidence = np.array([0.82, 0.88, 0.15, 0.15])
    right = np.array([True, False, False, False])

    # two of mean 0.85 with 0.5 right, two of 0.15 with none
    assert calibration_error(confidence, right) == pytest.approx((0.35 + 0.15) / 2)
    assert calibration_error(np.array([1.0]), np.array([True])) == 0


def test_dice_of_two_masks() -> None:
    mask = np.zeros((4, 4), dtype=np.bool_)
    mask[:2] = True

    assert dice_of(mask, mask) == 1
    assert dice_of(mask, ~mask) == 0
    assert dice_of(mask, np.ones((4, 4), dtype=np.bool_)) == pytest.approx(2 / 3)
    assert dice_of(mask & ~mask, mask & ~mask) == 0


def test_the_answers_are_a_table(tmp_path: Path) -> None:
    write_answers([ANSWER, ANSWER], tmp_path / "out" / "answers.csv")

    heading, *rows = (tmp_path / "out" / "answers.csv").read_text().splitlines()
    assert heading.split(",")[:5] == ["fold", "patient", "row", "part", "organ"]
    assert rows == ["0,001,0,False,liver,True,True,0.9,500.0,1.0,0.9,0.9,0.8"] * 2
