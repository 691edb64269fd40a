"""A segmenter that only draws in a slice, made to follow objects: from box to box, as long as the
grey levels stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agent.fakes import ArraySlices, FakeSegmenter, FakeVolumeSegmenter, ellipse
from agent.ports import PromptedSlice, PropagatedSlice, Seed, VolumeSegmenter
from agent.values import Box, Segmentation
from agent.volume.box_propagation import SteppingSegmenter, with_propagation

SIDE = 96
RADII = (9, 12, 15, 18, 16, 13, 10)  # of an object on slices 2 to 8


class Counting(FakeSegmenter):
    """Keeps the boxes of each run of the decoder."""

    def __init__(self) -> None:
        self.runs: list[list[Box]] = []

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        self.runs.append([ask.prompts.box for ask in asks if ask.prompts.box is not None])
        return super().segment_many(asks)


def discs(radii: Sequence[int] = RADII, *, level: float = 0.6) -> np.ndarray:
    volume = np.zeros((11, SIDE, SIDE), dtype=np.float32)
    for z, radius in enumerate(radii, start=2):
        volume[z][ellipse((SIDE, SIDE), (40, 50), (radius, radius))] = level
    return volume


def follow(
    volume: np.ndarray, seed: Seed, segmenter: FakeSegmenter, **kind: Any
) -> list[PropagatedSlice]:
    slices = ArraySlices(volume, segmenter, **kind)
    stepping = SteppingSegmenter(segmenter)
    return list(stepping.propagate(slices, [seed], lambda one: one.score >= 0.5))


def test_an_object_is_followed_as_far_as_its_grey_levels_go() -> None:
    volume = discs()

    drawn = follow(volume, Seed({5: volume[5] > 0}), Counting(), spacing_mm=(3.0, 1.0, 1.0))

    assert sorted(one.z for one in drawn) == [2, 3, 4, 6, 7, 8]
    for one in drawn:
        assert one.score == 1.0
        # the fake smooths: tips of the disc may go
        assert np.count_nonzero(one.segmentation.mask ^ (volume[one.z] > 0)) <= 8


def test_another_grey_level_in_the_box_is_not_the_object() -> None:
    volume = discs()
    volume[7:] = np.where(volume[7:] > 0, 0.9, 0.2)  # something brighter goes on in its place

    drawn = follow(volume, Seed({4: volume[4] > 0}), Counting())

    assert max(one.z for one in drawn) == 6


@pytest.mark.parametrize(
    ("gap_mm", "margin_px"),
    [
        (1.0, 2.0),  # never less than two pixels
        (4.0, 4.0),  # an edge at 45 degrees
        (30.0, 4.5),  # no more than 15 % of a side of 30 pixels
    ],
)
def test_the_box_is_the_neighbours_grown_with_the_gap(gap_mm: float, margin_px: float) -> None:
    volume = discs((15, 15))
    segmenter = Counting()

    follow(volume, Seed({2: volume[2] > 0}), segmenter, spacing_mm=(gap_mm, 1.0, 1.0))

    up = segmenter.runs[0][0]
    assert (up.x0, up.y0) == (25 - margin_px, 35 - margin_px)
    assert (up.x1, up.y1) == (55 + margin_px, 65 + margin_px)


def test_objects_on_a_slice_are_drawn_in_one_run_and_specks_do_not_widen_the_next_box() -> None:
    # Arrange
    volume = np.zeros((4, SIDE, SIDE), dtype=np.float32)
    volume[:, 10:40, 10:40], volume[:, 60:90, 60:90] = 0.4, 0.8
    volume[1, 8, 41] = 0.4  # a speck in the corner of the box
    segmenter = Counting()
    seeds = [Seed({0: volume[0] == np.float32(level)}) for level in (0.4, 0.8)]

    # Act
    slices = ArraySlices(volume, segmenter)
    list(SteppingSegmenter(segmenter).propagate(slices, seeds, lambda one: one.score >= 0.5))

    # Assert
    assert [len(run) for run in segmenter.runs] == [2, 2, 2]
    assert segmenter.runs[1][0] == Box(8, 8, 41, 41)
    assert slices.encoder_passes == 3


def test_an_empty_slice_ends_it() -> None:
    volume = discs()
    volume[6] = 0.0

    drawn = follow(volume, Seed({5: volume[5] > 0}), Counting())

    assert max(one.z for one in drawn) <= 5


def test_who_follows_already_is_left_alone() -> None:
    follows, draws = FakeVolumeSegmenter(), FakeSegmenter()
    image = np.zeros((SIDE, SIDE), dtype=np.float32)

    assert with_propagation(follows) is follows
    stepping = with_propagation(draws)
    assert isinstance(stepping, VolumeSegmenter)
    assert (stepping.name, stepping.supported_prompts) == (draws.name, draws.supported_prompts)
    assert stepping.encode(image).source_shape == (SIDE, SIDE)
