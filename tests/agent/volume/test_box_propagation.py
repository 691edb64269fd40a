"""A segmenter that only draws in a slice, made to follow objects: from box to box, as long as the
grey levels stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.fakes import (
    ArraySlices,
    FakeEncoding,
    FakeSegmenter,
    FakeVolumeSegmenter,
    ScriptedPolicy,
    ellipse,
)
from agent.ports import (
    ContinueIf,
    Localisation,
    PromptedSlice,
    PropagatedSlice,
    Seed,
    Slices,
    VolumeSegmenter,
)
from agent.values import Box, Role, Segmentation
from agent.volume.box_propagation import SteppingSegmenter, with_propagation
from agent.volume.order import segment_target
from tests.support.agent.towers import LIVER, boxed, tower
from tests.support.fixture_types import RunToEnd

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


class Wanders(Counting):
    """Draws a disc, whatever the box: up to slice 6 the object's, beyond it one beside it of the
    same grey.
    """

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        drawn = []
        for ask in asks:
            assert isinstance(ask.encoding, FakeEncoding)
            lit = ask.encoding.image > 0.5
            drawn.append(replace(super().segment_many([ask])[0], mask=lit))
        return drawn


def test_a_mask_unlike_the_slice_befores_is_not_followed_though_its_grey_is_the_same() -> None:
    # Arrange: 12 px of 30 aside from slice 7 on, of one grey, as bowel lies beside a pancreas
    volume = discs((15,) * 5, level=0.6)
    for z in (7, 8, 9):
        volume[z][ellipse((SIDE, SIDE), (40, 71), (15, 15))] = 0.6
    slices = ArraySlices(volume, Wanders())
    asked: list[PropagatedSlice] = []

    def goes_on(one: PropagatedSlice) -> bool:
        asked.append(one)
        return not one.break_off

    # Act
    seeds = [Seed({4: volume[4] > 0}, lowest=4)]
    drawn = list(SteppingSegmenter(Wanders()).propagate(slices, seeds, goes_on))

    # Assert
    assert [one.z for one in drawn] == [5, 6]
    assert [one.z for one in asked if one.break_off] == [7]
    assert asked[-1].score == 1.0  # the grey levels alone would have gone on
    assert "100 % of its grey levels, 22 % of its place" in asked[-1].break_off


def test_where_it_breaks_off_the_result_says_so(run: RunToEnd) -> None:
    class BreaksOff(FakeVolumeSegmenter):
        def propagate(
            self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
        ) -> Iterator[PropagatedSlice]:
            def judged(one: PropagatedSlice) -> bool:
                unlike = "what was drawn there is unlike it" if one.z == 7 else ""
                return continue_if(replace(one, break_off=unlike))

            return super().propagate(slices, seeds, judged)

    segmenter = BreaksOff()
    policy = ScriptedPolicy(Localisation((), (5,)), {(5, Role.KEY): boxed(6)})

    _, result = run(segment_target(LIVER, ArraySlices(tower(), segmenter), policy, segmenter))

    assert result.voxels is not None
    assert np.flatnonzero(result.voxels.any(axis=(1, 2))).tolist() == [2, 3, 4, 5, 6]
    assert result.warnings == (
        "the outline could not be followed to slice 7: what was drawn there is unlike it",
    )
