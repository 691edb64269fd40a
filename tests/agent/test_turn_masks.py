"""A turn's masks packed: they come back bit for bit, and another's are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.fakes import ellipse
from agent.turn_masks import TurnMasks

shapes = st.tuples(st.integers(1, 20), st.integers(1, 20))
masks_by_slice = st.dictionaries(
    st.integers(-1, 600), shapes.flatmap(lambda shape: arrays(np.bool_, shape)), max_size=3
)


@given(masks_by_slice)
def test_masks_come_back_as_they_were(masks: Any) -> None:
    unpacked = TurnMasks.of(masks).unpacked()

    assert sorted(unpacked) == sorted(masks)
    for slice_index, mask in masks.items():
        np.testing.assert_array_equal(unpacked[slice_index], mask)


def test_equal_masks_have_equal_digests_wherever_they_were_read() -> None:
    mask = ellipse((40, 40), (20, 18), (9, 5))
    masks = TurnMasks.of({3: mask})

    assert TurnMasks(masks.digest) == masks
    assert not TurnMasks(masks.digest).here
    assert TurnMasks.of({4: mask}) != masks
    assert TurnMasks.of({3: np.roll(mask, 1)}) != masks


@pytest.mark.parametrize("packed", [b"", b"no zlib"])
def test_what_cannot_be_unpacked_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be unpacked"):
        TurnMasks("00" * 16, packed).unpacked()


def test_masks_of_another_turn_are_refused() -> None:
    one, other = (TurnMasks.of({z: ellipse((9, 9), (4, 4), (2, 2))}) for z in (1, 2))

    with pytest.raises(ValueError, match="not those it drew"):
        TurnMasks(one.digest, other.packed).unpacked()


def test_an_organ_takes_less_than_a_kilobyte() -> None:
    organ = ellipse((512, 512), (200, 240), (110, 80))

    assert len(TurnMasks.of({0: organ}).packed) < 1000
