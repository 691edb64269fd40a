"""Of a data set only what readers corrected is kept."""

from __future__ import annotations

from dataclasses import replace

from models.training.datasets.corrected import corrections_of
from tests.support.toy_cases import toy_cases


def test_truths_that_correct_nothing_and_cases_without_another_are_left_out() -> None:
    first, second = toy_cases(2)
    mine = replace(first.truths[1], corrected_from=~first.truths[1].voxels)
    first = replace(first, truths=(first.truths[0], mine, first.truths[2]))

    (case,) = corrections_of([second, first])

    assert case.case_id == first.case_id
    assert case.truths == (mine,)
