"""Where objects are followed to: the nearer outline, bounds, ends, and one pass up and one down for
all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agent.errors import SegmenterFailed
from agent.fakes import ArraySlices, FakeVolumeSegmenter, ellipse, segmentation
from agent.ports import PropagatedSlice, Seed, VolumeSegmenter
from agent.volume.propagation_order import PropagationPath, paths_of, sweep

SHAPE = (20, 8, 9)
SOME = np.ones((8, 9), dtype=np.bool_)
NONE = np.zeros((8, 9), dtype=np.bool_)


def slices_of(*paths: PropagationPath) -> list[tuple[int, list[int]]]:
    """What each path covers: (outline, slices in the order they are drawn)."""
    return [(s.origin, list(range(s.first, s.last + s.step, s.step))) for s in paths]


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        pytest.param(
            Seed({3: SOME}), [(3, list(range(4, 20))), (3, [2, 1, 0])], id="to both edges"
        ),
        pytest.param(
            Seed({3: SOME}, lowest=2, highest=5), [(3, [4, 5]), (3, [2])], id="within bounds"
        ),
        pytest.param(
            Seed({4: SOME, 9: SOME}, lowest=4, highest=9),
            [(4, [5, 6]), (9, [8, 7])],
            id="each half from its own outline",
        ),
        pytest.param(
            Seed({4: SOME, 8: SOME}, lowest=4, highest=8),
            [(4, [5, 6]), (8, [7])],
            id="the lower of two equally near",
        ),
        pytest.param(
            Seed({4: SOME, 8: NONE}, lowest=2), [(4, [5, 6, 7]), (4, [3, 2])], id="an empty end"
        ),
        pytest.param(
            Seed({4: NONE, 8: SOME}, highest=9), [(8, [9]), (8, [7, 6, 5])], id="an empty start"
        ),
        pytest.param(Seed({4: SOME, 5: SOME}, lowest=4, highest=5), [], id="nothing between"),
        pytest.param(
            Seed({2: SOME}, lowest=5, highest=7),
            [(2, [5, 6, 7])],
            id="an outline outside the bounds",
        ),
        pytest.param(Seed({0: SOME}, highest=40), [(0, list(range(1, 20)))], id="at the edge"),
    ],
)
def test_a_slice_belongs_to_the_nearer_outline(seed: Seed, expected: list[Any]) -> None:
    assert slices_of(*paths_of([seed], SHAPE)) == expected


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (Seed({}), "from an outline that is not empty"),
        (Seed({3: NONE}), "from an outline that is not empty"),
        (Seed({20: SOME}), "slice 20: the volume has 20"),
        (Seed({3: np.ones((9, 8), dtype=np.bool_)}), r"\(9, 8\) does not fit slices of \(8, 9\)"),
    ],
)
def test_what_cannot_be_followed_is_refused(seed: Seed, words: str) -> None:
    with pytest.raises(SegmenterFailed, match=words):
        paths_of([Seed({1: SOME}), seed], SHAPE)


class TestSweep:
    def walk(self, seeds: Sequence[Seed], ends: Sequence[tuple[int, int]] = ()) -> tuple[Any, ...]:
        """What was drawn [(z, objects)], and what was yielded [(object, z)], when objects end at
        `ends`.
        """
        drawn = []

        def draw(z: int, paths: Sequence[PropagationPath]) -> list[PropagatedSlice]:
            drawn.append((z, tuple(path.index for path in paths)))
            return [PropagatedSlice(path.index, z, segmentation(SOME), 1.0) for path in paths]

        followed = sweep(paths_of(seeds, SHAPE), draw, lambda one: (one.index, one.z) not in ends)
        return drawn, [(one.index, one.z) for one in followed]

    def test_all_objects_go_together_up_and_then_down(self) -> None:
        drawn, _ = self.walk(
            [Seed({3: SOME}, lowest=1, highest=6), Seed({5: SOME}, lowest=2, highest=7)]
        )

        assert drawn == [
            *((4, (0,)), (5, (0,)), (6, (0, 1)), (7, (1,))),
            *((4, (1,)), (3, (1,)), (2, (0, 1)), (1, (0,))),
        ]

    def test_an_object_that_ends_is_not_kept_there_and_goes_no_further(self) -> None:
        drawn, yielded = self.walk(
            [Seed({5: SOME}, lowest=3, highest=9), Seed({5: SOME}, lowest=5, highest=9)],
            ends=[(0, 7)],
        )

        assert yielded == [(0, 6), (1, 6), (1, 7), (1, 8), (1, 9), (0, 4), (0, 3)]
        assert drawn[1:3] == [(7, (0, 1)), (8, (1,))]

    def test_the_other_outline_starts_afresh_where_the_first_has_ended(self) -> None:
        _, yielded = self.walk([Seed({2: SOME, 10: SOME}, lowest=2, highest=12)], ends=[(0, 4)])

        assert yielded == [(0, 3), (0, 11), (0, 12), (0, 9), (0, 8), (0, 7)]

    def test_nothing_is_drawn_before_it_is_asked_for(self) -> None:
        def draw(z: int, paths: Sequence[PropagationPath]) -> list[PropagatedSlice]:
            raise AssertionError("drawn too early")

        sweep(paths_of([Seed({2: SOME})], SHAPE), draw, lambda _: True)


class TestFakeVolumeSegmenter:
    @pytest.fixture
    def cone(self) -> np.ndarray:
        """A slanting bright body on slices 2 to 9 of 12, so slanting that slice 9 is beside slice
        5, on a darker one.
        """
        image = np.full((12, 48, 48), 0.2, dtype=np.float32)
        for z in range(2, 10):
            image[z, 20:40, 4:46] = 0.5
            image[z][ellipse((48, 48), (6.0 + 3.5 * z, 16), (6.5, 8))] = 0.8
        return image

    def test_follows_what_is_as_bright_and_ends_with_it(self, cone: np.ndarray) -> None:
        fake = FakeVolumeSegmenter()
        slices = ArraySlices(cone, fake)

        way = fake.propagate(slices, [Seed({5: cone[5] > 0.7})], lambda one: one.score > 0)
        found = {one.z: one for one in way}

        assert sorted(found) == [2, 3, 4, 6, 7, 8, 9]
        for z, one in found.items():
            truth = cone[z] > 0.7
            assert np.count_nonzero(one.segmentation.mask ^ truth) <= 0.03 * np.count_nonzero(truth)
            assert one.score > 0.5
        assert [z for z, _ in fake.steps] == [6, 7, 8, 9, 10, 4, 3, 2, 1]

    def test_two_objects_in_one_pass(self, cone: np.ndarray) -> None:
        fake = FakeVolumeSegmenter()
        darker = np.abs(cone - 0.5) < 0.1
        seeds = [Seed({5: cone[5] > 0.7}), Seed({6: darker[6]})]

        found = list(fake.propagate(ArraySlices(cone, fake), seeds, lambda one: one.score > 0))

        assert {(one.index, one.z) for one in found if one.index == 1} == {
            (1, z) for z in (2, 3, 4, 5, 7, 8, 9)
        }
        assert (7, (0, 1)) in fake.steps

    def test_is_a_volume_segmenter(self) -> None:
        assert isinstance(FakeVolumeSegmenter(), VolumeSegmenter)
