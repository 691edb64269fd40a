"""Carried outwards from a key slice, slice by slice, and guarded against drift."""

from __future__ import annotations

import numpy as np
import pytest

from agent.actions import NameSlices
from agent.fakes import ArraySlices, ScriptedPolicy
from agent.limits import Limits
from agent.ports import Localisation
from agent.values import Role, TargetStatus
from agent.volume.outline import outline_target
from tests.support.agent.box_scripts import LIVER, FillsBoxes, areas, by_slice, slices_asked, square
from tests.support.fixture_types import PlayTarget


class TestTheWayThrough:
    def test_key_slice_first_then_up_then_down_until_it_ends(self, play: PlayTarget) -> None:
        carry = {2: square(6), 3: square(8), 5: square(8), 6: square(6)}

        turns, result, _ = play({4: square(10)}, carry)

        assert result.status is TargetStatus.SEGMENTED
        assert areas(result) == [0, 0, 36, 64, 100, 64, 36, 0, 0]
        assert slices_asked(turns, Role.KEY) == [4]
        # two slices without it, and nobody asks any further
        assert slices_asked(turns, Role.CARRY) == [5, 6, 7, 8, 3, 2, 1, 0]
        assert slices_asked(turns, Role.REVIEW) == []
        assert result.warnings == ()
        assert result.turns == tuple(turns)

    def test_it_ends_after_two_slices_without_it(self, play: PlayTarget) -> None:
        turns, result, _ = play({4: square(10)}, limits=Limits(end_after=2))

        assert slices_asked(turns, Role.CARRY) == [5, 6, 3, 2]
        assert areas(result) == [0, 0, 0, 0, 100, 0, 0, 0, 0]

    def test_the_policy_is_shown_the_neighbours_mask(self, play: PlayTarget) -> None:
        _, _, policy = play({4: square(10)}, {5: square(8)})

        carried = {
            seen.slice_index: int(seen.carried.sum())
            for seen in policy.observations
            if seen.role is Role.CARRY and seen.carried is not None
        }

        assert carried == {5: 100, 6: 64, 7: 64, 3: 100, 2: 100}

    def test_a_turn_is_named_by_slice_and_index(self, play: PlayTarget) -> None:
        # slice 5 is drawn too large when carried, and again in the review
        carry = {5: [square(40), square(30)], 6: square(10)}

        turns, _, _ = play({4: square(10)}, carry, {5: square(10)})

        names = [(turn.slice_index, turn.index) for turn in turns]
        assert len(set(names)) == len(names)
        on_five = [turn for turn in turns if turn.slice_index == 5]
        assert [turn.index for turn in on_five] == [0, 1, 2, 3]
        assert [turn.role for turn in on_five] == [Role.CARRY] * 2 + [Role.REVIEW] * 2

    def test_slices_the_survey_rules_out_are_not_asked_about(self, play: PlayTarget) -> None:
        survey = Localisation((0.0, 0.0, 0.0, 0.9, 1.0, 0.9, 0.0, 0.0, 0.0), (4,))
        carry = {3: square(8), 5: square(8)}

        turns, result, _ = play({4: square(10)}, carry, survey=survey)

        assert slices_asked(turns, Role.CARRY) == [5, 3]
        assert areas(result) == [0, 0, 0, 64, 100, 64, 0, 0, 0]

    def test_a_survey_without_figures_rules_nothing_out(self, play: PlayTarget) -> None:
        turns, result, _ = play({4: square(10)}, {3: square(8)}, survey=Localisation((), (4,)))

        assert slices_asked(turns, Role.CARRY) == [5, 6, 3, 2, 1]
        assert result.confidence == pytest.approx(0.9)

    def test_one_slice_alone_is_a_volume_too(self, play: PlayTarget) -> None:
        turns, result, _ = play({0: square(10)}, depth=1)

        assert areas(result) == [100]
        assert result.warnings == ()  # what has no other slices is not cut off by them
        assert len(turns) == 2

    def test_it_can_be_stopped_between_turns(self) -> None:
        segmenter = FillsBoxes()
        slices = ArraySlices(np.zeros((9, 64, 64), dtype=np.float32), segmenter)
        policy = ScriptedPolicy(Localisation((1.0,) * 9, (4,)), by_slice(Role.KEY, {4: square(10)}))
        work = outline_target(LIVER, slices, policy, segmenter)

        next(work)
        work.close()

        assert len(policy.observations) == 1


class TestThinSlices:
    """1 mm apart, drawn every 2 mm where two drawn ones agree."""

    LIMITS = Limits(draw_step_mm=2.0)

    def test_every_second_slice_is_drawn(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in (0, 2, 6, 8)}

        turns, result, _ = play({4: square(10)}, carry, limits=self.LIMITS)

        assert slices_asked(turns, Role.CARRY) == [6, 8, 2, 0]
        assert areas(result) == [100] * 9
        filled = [turn.action for turn in turns if turn.role is Role.FILL]
        assert filled == [NameSlices((5, 7)), NameSlices((1, 3))]
        told = "4 of its 9 slices, 1 mm apart, were interpolated between drawn ones that agree"
        assert told in result.warnings

    def test_the_ends_are_drawn_slice_by_slice(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in (2, 3, 5)}

        turns, result, _ = play({4: square(10)}, carry, limits=self.LIMITS)

        # upwards nothing on 6: one by one from 5; downwards 0 is empty: one by one from 1
        assert slices_asked(turns, Role.CARRY) == [6, 5, 7, 2, 0, 1]
        assert areas(result) == [0, 0, 100, 100, 100, 100, 0, 0, 0]

    def test_from_a_slice_off_the_grid_it_comes_back_to_it(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in (0, 2, 4, 6, 8)}

        turns, result, _ = play({3: square(10)}, carry, limits=self.LIMITS)

        assert slices_asked(turns, Role.CARRY) == [4, 6, 8, 2, 0]
        assert areas(result) == [100] * 9

    def test_slices_that_differ_have_the_one_between_drawn(self, play: PlayTarget) -> None:
        carry = {5: square(12), 6: square(14), 8: square(14), 2: square(10), 0: square(10)}

        turns, result, _ = play({4: square(10)}, carry, limits=self.LIMITS)

        assert slices_asked(turns, Role.CARRY) == [6, 5, 8, 2, 0]
        assert areas(result) == [100, 100, 100, 100, 100, 144, 196, 196, 196]

    def test_the_way_from_one_key_slice_ends_at_the_other(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in (0, 4, 6, 8)}

        turns, result, _ = play({2: square(10), 7: square(10)}, carry, limits=self.LIMITS)

        assert slices_asked(turns, Role.CARRY) == [4, 6, 0, 8]
        assert areas(result) == [100] * 9

    def test_a_key_slice_that_is_met_ends_the_way(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in (0, 4, 8)}

        turns, _, _ = play({2: square(10), 6: square(10)}, carry, limits=self.LIMITS)

        assert slices_asked(turns, Role.CARRY) == [4, 0, 8]

    def test_a_key_slice_between_is_not_leapt_over(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in (4, 8)}

        turns, result, _ = play(
            {0: square(10), 6: square(10)}, carry, limits=Limits(draw_step_mm=4.0)
        )

        filled = [turn.action for turn in turns if turn.role is Role.FILL]
        assert filled == [NameSlices((1, 2, 3, 5)), NameSlices((7,))]
        assert areas(result) == [100] * 9

    def test_what_a_leap_did_not_reach_is_asked_once_more_when_its_turn_has_come(
        self, play: PlayTarget
    ) -> None:
        carry = {5: square(10), 6: square(10)}

        turns, result, _ = play({4: square(10)}, carry, limits=Limits(draw_step_mm=4.0))

        upwards = [turn.slice_index for turn in turns if turn.slice_index > 4]
        assert upwards == [8, 5, 5, 6, 6, 7, 8]
        assert areas(result) == [0, 0, 0, 0, 100, 100, 100, 0, 0]

    def test_drift_over_a_leap_is_no_warning_where_the_nearer_slice_leads_there(
        self, play: PlayTarget
    ) -> None:
        # from 4 the area on 6 is far too large; from 5 it is not
        grown = [square(21), square(22), square(21)]
        carry = {5: square(14), 6: grown, 7: square(21), 8: square(21)}

        turns, result, _ = play({4: square(10)}, carry, limits=self.LIMITS)

        assert areas(result)[4:] == [100, 196, 441, 441, 441]
        assert not [warning for warning in result.warnings if "could not be followed" in warning]
        assert [turn.index for turn in turns if turn.slice_index == 6] == [0, 1, 2, 3]

    def test_thicker_slices_are_all_drawn(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in range(9) if z != 4}

        turns, result, _ = play({4: square(10)}, carry, limits=Limits(draw_step_mm=1.9))

        assert slices_asked(turns, Role.CARRY) == [5, 6, 7, 8, 3, 2, 1, 0]
        assert not [turn for turn in turns if turn.role is Role.FILL]
        assert result.warnings == (
            "the structure is cut off by the lower edge of the volume",
            "the structure is cut off by the upper edge of the volume",
        )

    def test_the_confidence_is_no_higher_than_of_the_drawn(self, play: PlayTarget) -> None:
        carry = {z: square(20) for z in (0, 2, 6, 8)} | {6: square(21)}

        _, result, _ = play({4: square(20)}, carry, limits=self.LIMITS)

        assert result.confidence < 0.9  # every drawn slice has 0.9


class TestDrift:
    def test_a_flood_is_an_observation_and_may_be_mended(self, play: PlayTarget) -> None:
        turns, result, _ = play({4: square(10)}, {5: [square(40), square(11)]})

        flooded, mended = [turn for turn in turns if turn.slice_index == 5]
        assert flooded.outcome == "rolled_back"
        assert "jumped to 16.0 times" in flooded.observation
        assert mended.outcome == "kept"
        assert areas(result)[5] == 121
        assert result.warnings == ()

    def test_a_flood_that_stays_ends_the_way_and_is_said(self, play: PlayTarget) -> None:
        carry = {z: [square(40), square(41)] for z in (5, 6)}

        turns, result, _ = play({4: square(10)}, carry)

        assert areas(result) == [0, 0, 0, 0, 100, 0, 0, 0, 0]
        assert slices_asked(turns, Role.CARRY) == [5, 6, 3, 2]
        assert result.warnings[0].startswith(
            "on slice 5 the outline could not be followed from slice 4: "
            "the area jumped to 16.8 times"
        )

    def test_a_mask_that_leaves_its_place_is_not_followed(self, play: PlayTarget) -> None:
        carry = {5: [square(10, left=40), square(10, left=41)]}

        _, result, _ = play({4: square(10)}, carry)

        assert areas(result)[5] == 0
        assert "left its place" in result.warnings[0]

    def test_one_missing_slice_is_followed_from_the_one_before(self, play: PlayTarget) -> None:
        carry = {5: [square(40), square(41)], 6: square(9)}

        _, result, policy = play({4: square(10)}, carry, {5: square(10)})

        assert areas(result)[4:7] == [100, 100, 81]
        shown = next(seen for seen in policy.observations if seen.slice_index == 6)
        assert shown.carried is not None
        assert shown.carried.sum() == 100
