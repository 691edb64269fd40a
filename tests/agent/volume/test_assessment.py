"""The policy looks at the whole object: what it names is drawn again, and followed again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np

from agent.actions import Absent, AddBox, NameSlices, Stop
from agent.errors import NoAnswer
from agent.fakes import ArraySlices, FakeSegmenter, FakeVolumeSegmenter, ScriptedPolicy
from agent.limits import Limits
from agent.ports import Assessment, Localisation, Reply, Slices
from agent.turns import WHOLE_VOLUME, TargetResult, Turn
from agent.values import Box, Role, Target, TargetStatus
from agent.volume.order import segment_target
from tests.support.agent.towers import LIVER, boxed, tower
from tests.support.fixture_types import RunToEnd


class TestThinSlices:
    """A tower on 12 slices of 1 mm, drawn every 2 mm on its way from slice 6."""

    def assessed(
        self, run: RunToEnd, named: int, review: Sequence[AddBox | Stop | Absent]
    ) -> tuple[list[Turn], TargetResult]:
        segmenter = FakeSegmenter()
        policy = ScriptedPolicy(
            Localisation((), (6,)),
            {
                (6, Role.KEY): boxed(6),
                **{(z, Role.CARRY): boxed(6) for z in (2, 4, 8)},
                (9, Role.CARRY): boxed(6),
                Role.CARRY: repeat(Absent()),
                (named, Role.REVIEW): review,
            },
            Assessment((named,)),
        )
        steps = segment_target(
            LIVER, ArraySlices(tower(), segmenter), policy, segmenter, Limits(draw_step_mm=2.0)
        )
        turns, result = run(steps)
        return turns, result

    def filled(self, turns: list[Turn]) -> list[tuple[int, ...]]:
        return [
            turn.action.slices
            for turn in turns
            if turn.role is Role.FILL and isinstance(turn.action, NameSlices)
        ]

    def test_an_interpolated_slice_that_is_named_is_drawn(self, run: RunToEnd) -> None:
        smaller: list[AddBox | Stop] = [AddBox(Box(6, 8, 17, 18)), Stop()]

        turns, result = self.assessed(run, 5, smaller)

        assert result.voxels is not None
        assert result.voxels[5].sum() == 12 * 11
        assert self.filled(turns) == [(7,), (3, 5)]
        assert any(told.startswith("2 of its 8 slices") for told in result.warnings)

    def test_what_came_from_a_redrawn_slice_is_interpolated_anew(self, run: RunToEnd) -> None:
        smaller: list[AddBox | Stop] = [AddBox(Box(6, 8, 17, 17)), Stop()]

        turns, result = self.assessed(run, 4, smaller)

        assert result.voxels is not None
        assert self.filled(turns) == [(7,), (3, 5), (3, 5)]
        below, redrawn, above = (int(result.voxels[z].sum()) for z in (3, 4, 5))
        assert redrawn == 120
        assert 120 < below < 144
        assert 120 < above < 144

    def test_a_slice_that_could_not_be_corrected_stays_interpolated(self, run: RunToEnd) -> None:
        turns, result = self.assessed(run, 5, [Stop(), Stop()])

        assert self.filled(turns)[:2] == [(7,), (3, 5)]
        assert any(told.startswith("3 of its 8 slices") for told in result.warnings)


class TestCorrections:
    def test_what_the_policy_names_is_redrawn_and_followed_again(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        # Arrange
        policy = ScriptedPolicy(
            Localisation((), (5,)),
            {
                (5, Role.KEY): boxed(6),
                (8, Role.REVIEW): [AddBox(Box(6, 8, 17, 16)), Stop()],
            },
            Assessment((8, 99), (Reply(NameSlices((8,)), "slice 8 spills", seconds=1.5),)),
        )

        # Act
        turns, result = run(segment_target(LIVER, slices, policy, segmenter))

        # Assert
        whole = [turn for turn in turns if turn.slice_index == WHOLE_VOLUME]
        assert [turn.role for turn in whole] == [Role.CARRY, Role.INSPECT, Role.CARRY]
        assert [turn.index for turn in whole] == [0, 1, 2]
        assert (whole[1].reply, whole[1].policy_s) == ("slice 8 spills", 1.5)
        assert (turns[0].place, whole[1].place) == ("slice 5", "the whole volume")
        assert "followed from slices 5, 8" in whole[2].observation
        assert result.voxels[8].sum() == 12 * 9
        (review, *_) = (shown for shown in policy.observations if shown.role is Role.REVIEW)
        assert review.object_outline is not None
        # as much as the policy saw when it named the slice: the tower is wider at its foot
        assert review.object_outline.sum() > result.voxels[8].sum()

    def test_what_was_said_to_be_right_is_not_followed_over(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        policy = ScriptedPolicy(
            Localisation((), (5,)),
            {
                (5, Role.KEY): boxed(6),
                (8, Role.REVIEW): [AddBox(Box(6, 8, 17, 16)), Stop()],
                (7, Role.REVIEW): [Stop()],
            },
            Assessment((8, 7)),
        )
        limits = Limits(planner_decides=True)

        turns, _ = run(segment_target(LIVER, slices, policy, segmenter, limits))

        again = [turn for turn in turns if turn.slice_index == WHOLE_VOLUME][-1]
        assert "followed from slices 7, 8" in again.observation
        assert 7 not in again.action.slices

    def test_a_part_that_was_drawn_on_a_second_look_stays(
        self, run: RunToEnd, segmenter: FakeVolumeSegmenter
    ) -> None:
        volume = tower()
        volume[10, 30:42, 30:42] = 0.8
        policy = ScriptedPolicy(
            Localisation((), (5,)),
            {
                (5, Role.KEY): boxed(6),
                (10, Role.REVIEW): [AddBox(Box(30, 30, 41, 41)), Stop()],
            },
            Assessment((10,)),
        )
        slices, limits = ArraySlices(volume, segmenter), Limits(planner_decides=True)

        turns, result = run(segment_target(LIVER, slices, policy, segmenter, limits))

        assert result.voxels is not None
        assert result.voxels[10].sum() == 12 * 12
        assert not any("apart" in told for told in result.warnings)
        # and is not asked about again, though it does not lie on its neighbours
        assert [turn.slice_index for turn in turns if turn.role is Role.REVIEW] == [10, 10]

    def test_what_is_not_there_on_a_second_look_is_cut(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        policy = ScriptedPolicy(
            Localisation((), (5,)),
            {(5, Role.KEY): boxed(6), (9, Role.REVIEW): [Absent("bowel")]},
            Assessment((9,)),
        )

        _, result = run(segment_target(LIVER, slices, policy, segmenter))

        assert not result.voxels[9].any()
        assert any("slice 9 was cut" in said for said in result.warnings)

    def test_what_was_reached_through_it_is_cut_too(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        policy = ScriptedPolicy(
            Localisation((), (5,)),
            {(5, Role.KEY): boxed(6), (7, Role.REVIEW): [Absent("bowel")]},
            Assessment((7,)),
        )

        _, result = run(segment_target(LIVER, slices, policy, segmenter))

        assert np.flatnonzero(result.voxels.any(axis=(1, 2))).tolist() == [2, 3, 4, 5, 6]
        assert "slices 8 to 9 were cut too: they were reached through slice 7" in result.warnings

    def test_between_key_slices_nothing_more_is_cut(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        policy = ScriptedPolicy(
            Localisation((), (3, 8)),
            {
                (3, Role.KEY): boxed(6),
                (8, Role.KEY): boxed(6),
                (6, Role.REVIEW): [Absent("bowel")],
            },
            Assessment((6,)),
        )

        _, result = run(segment_target(LIVER, slices, policy, segmenter))

        assert result.voxels[9].any()
        assert result.voxels[2].any()

    def test_an_object_that_is_nowhere_on_a_second_look_is_uncertain(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        policy = ScriptedPolicy(
            Localisation((), (5,)),
            {(5, Role.KEY): boxed(6), Role.REVIEW: [Absent("bowel")] * 4},
            Assessment((5, 4, 6)),
        )

        _, result = run(segment_target(LIVER, slices, policy, segmenter))

        assert result.status is TargetStatus.UNCERTAIN
        assert "no slice's mask stood up to the review" in result.reason

    def test_what_cannot_be_mended_keeps_its_mask(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        policy = ScriptedPolicy(
            Localisation((), (5,)),
            {(5, Role.KEY): boxed(6), (8, Role.REVIEW): [Stop(), Stop()]},
            Assessment((8,)),
        )

        _, result = run(segment_target(LIVER, slices, policy, segmenter))

        assert np.array_equal(result.voxels[8], result.voxels[7])
        assert result.voxels[8].any()

    def test_an_inspection_without_an_answer_is_a_warning(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        class Mute(ScriptedPolicy):
            def assess(self, target: Target, slices: Slices, voxels: np.ndarray) -> Assessment:
                raise NoAnswer("three replies, no slice", (Reply(Absent(), "er"),))

        policy = Mute(Localisation((), (5,)), {(5, Role.KEY): boxed(6)})

        turns, result = run(segment_target(LIVER, slices, policy, segmenter))

        assert result.status is TargetStatus.SEGMENTED
        assert "the whole was not inspected: three replies, no slice" in result.warnings
        assert turns[-1].reply == "er"
