"""Two structures cannot have the same voxels."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.voxels import Voxels
from server.study.shared_voxels import shared_voxels, voxels_in_both


def rows(first: int, end: int) -> Voxels:
    """A mask (2, 100, 10) of the rows from `first` to before `end`."""
    mask = np.zeros((2, 100, 10), dtype=np.bool_)
    mask[:, first:end] = True
    return Voxels.of(mask)


@pytest.mark.parametrize(
    ("one", "other", "count"), [((0, 50), (40, 90), 200), ((0, 9), (9, 20), 0)]
)
def test_what_lies_in_both_is_counted(
    one: tuple[int, int], other: tuple[int, int], count: int
) -> None:
    assert voxels_in_both(rows(*one), rows(*other)) == count


def test_both_are_doubted_from_more_than_a_twentieth_of_the_smaller_one() -> None:
    doubts = shared_voxels({"Liver": rows(0, 60), "Spleen": rows(56, 76), "Aorta": rows(75, 95)})

    assert set(doubts) == {"Liver", "Spleen"}
    assert doubts["Liver"] == (
        "20% of the smaller one's voxels are also in Spleen: at least one of the two is wrong",
    )
    assert "also in Liver" in doubts["Spleen"][0]


def test_an_empty_mask_shares_nothing() -> None:
    assert shared_voxels({"Liver": rows(0, 60), "Spleen": rows(5, 5)}) == {}
