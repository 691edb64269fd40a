"""Examples of training: which row shows what, and work that goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.policies.locator.augment import CROP
from models.policies.locator.btcv import LabelledSlice
from models.policies.locator.examples import ExampleKind, make_examples, picture, rounds_of
from models.policies.locator.net import EMBEDDING_SHAPE

ROUNDS = rounds_of(1, 1)


@pytest.fixture
def slices() -> list[LabelledSlice]:
    """Three slices of a body with one organ."""
    y, x = np.mgrid[:200, :200]
    pixels = np.where(((y - 100) / 60) ** 2 + ((x - 100) / 80) ** 2 < 1, 130, 0).astype(np.uint8)
    labels = np.where((y - 100) ** 2 + (x - 80) ** 2 < 900, 6, 0).astype(np.uint8)
    return [LabelledSlice(f"{n}", f"{n}", pixels, labels) for n in range(3)]


class Counting:
    """An encoder that numbers its pictures, and is switched off after so many."""

    def __init__(self, at_most: int = 1000) -> None:
        self.calls, self._at_most = 0, at_most

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.calls == self._at_most:
            raise KeyboardInterrupt
        self.calls += 1
        return np.full(EMBEDDING_SHAPE, image.mean(), dtype=np.float32)


def test_the_rounds_show_slices_and_parts_as_they_are_and_changed(
    slices: list[LabelledSlice], tmp_path: Path
) -> None:
    examples = make_examples(slices, Counting(), ROUNDS, 0, tmp_path)

    assert len(examples) == 12
    for number, (part, changed) in enumerate(
        [(False, False), (True, False), (False, True), (True, True)]
    ):
        rows = examples.rows(part=part, changed=changed, of=[0, 2])
        assert rows.tolist() == [3 * number, 3 * number + 2]


def test_a_part_is_smaller_than_its_slice_and_the_same_each_time(
    slices: list[LabelledSlice],
) -> None:
    whole, _ = picture(slices, 0, ExampleKind(part=False, changed=False), 0)
    part, labels = picture(slices, 3, ExampleKind(part=True, changed=False), 0)
    changed, _ = picture(slices, 9, ExampleKind(part=True, changed=True), 0)
    again, _ = picture(slices, 3, ExampleKind(part=True, changed=False), 0)

    assert whole.shape == (200, 200)
    for image in (part, changed):
        assert CROP[0] * 200 - 1 <= image.shape[0] == image.shape[1] <= CROP[1] * 200 + 1
    assert labels.shape == part.shape
    np.testing.assert_array_equal(part, again)


def test_examples_of_an_earlier_run_are_used_again(
    slices: list[LabelledSlice], tmp_path: Path
) -> None:
    first, second, other = Counting(), Counting(), Counting()

    make_examples(slices, first, ROUNDS, 0, tmp_path)
    again = make_examples(slices, second, ROUNDS, 0, tmp_path)
    make_examples(slices, other, ROUNDS, 1, tmp_path)

    assert (first.calls, second.calls, other.calls) == (12, 0, 12)
    assert len(again) == 12


def test_what_was_broken_off_goes_on_as_if_it_had_not_been(
    slices: list[LabelledSlice], tmp_path: Path
) -> None:
    rounds = rounds_of(8, 0)
    whole = make_examples(slices, Counting(), rounds, 0, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        make_examples(slices, Counting(at_most=25), rounds, 0, tmp_path / "broken")
    rest = Counting()
    mended = make_examples(slices, rest, rounds, 0, tmp_path / "broken")

    assert rest.calls == 30 - 20
    np.testing.assert_array_equal(mended.square, whole.square)
    np.testing.assert_array_equal(mended.labels, whole.labels)
    np.testing.assert_array_equal(mended.embedding, whole.embedding)
