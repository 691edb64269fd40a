"""What a reader says is true of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from agent.training.clicks import larger_error
from agent.training.sentences import closing_sentence, correcting_sentence, opening_sentence


def block(top: int, left: int, height: int = 10, width: int = 10) -> np.ndarray:
    mask = np.zeros((90, 90), dtype=np.bool_)
    mask[top : top + height, left : left + width] = True
    return mask


@pytest.mark.parametrize(
    ("mask", "where"),
    [
        (block(0, 0), "at the top left"),
        (block(40, 78), "at the right"),
        (block(78, 40), "at the bottom"),
        (block(40, 40), "in the middle"),
    ],
)
def test_a_place_is_as_one_sees_it(mask: np.ndarray, where: str) -> None:
    assert (
        opening_sentence(mask) == f"There is no mask yet. The target lies {where} of the picture."
    )


def test_an_error_is_named_by_its_kind_and_side() -> None:
    truth = block(30, 30, 30, 30)
    too_large, too_small = truth | block(30, 60, 30, 20), truth & ~block(30, 30, 12, 30)

    errors = [larger_error(mask, truth) for mask in (too_large, too_small)]

    assert [correcting_sentence(error, truth) for error in errors if error is not None] == [
        "The mask goes beyond the target at the right.",
        "The mask leaves out a part at the top of the target.",
    ]


def test_the_end_does_not_praise_what_is_not_good() -> None:
    assert closing_sentence(0.95, 0.9) != closing_sentence(0.75, 0.9)
