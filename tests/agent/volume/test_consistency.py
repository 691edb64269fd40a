"""Slices that do not fit the whole are drawn again, filled or cut."""

from __future__ import annotations

import pytest

from agent.actions import Absent, Stop
from agent.limits import Limits
from agent.ports import Localisation
from agent.values import Role
from tests.support.agent.box_scripts import areas, slices_asked, square
from tests.support.agent.present import mask_of
from tests.support.fixture_types import PlayTarget


class TestReview:
    def test_a_slice_without_a_mask_between_two_is_drawn_again(self, play: PlayTarget) -> None:
        turns, result, policy = play({4: square(10)}, {6: square(10)}, {5: square(10)})

        assert areas(result)[4:7] == [100, 100, 100]
        assert slices_asked(turns, Role.REVIEW) == [5]
        asked = next(seen for seen in policy.observations if seen.role is Role.REVIEW)
        assert asked.carried is not None
        assert asked.carried.sum() == 100  # what the neighbours suggest
        assert asked.latest is None
        assert result.warnings == ()

    def test_what_nobody_can_draw_is_filled_from_the_neighbours(self, play: PlayTarget) -> None:
        _, result, _ = play({4: square(10)}, {6: square(10)})

        assert areas(result)[4:7] == [100, 100, 100]
        assert result.warnings == (
            "slice 5 was filled from its neighbours: it is empty between two slices that are not",
        )

    def test_a_dip_is_shown_to_the_policy_and_redrawn(self, play: PlayTarget) -> None:
        carry = {3: square(20), 5: square(3, left=15, top=15), 6: square(20), 7: square(20)}

        _, result, policy = play({4: square(20)}, carry, {5: square(20)})

        assert areas(result)[3:8] == [400] * 5
        asked = next(seen for seen in policy.observations if seen.role is Role.REVIEW)
        assert asked.slice_index == 5
        assert mask_of(asked.latest).sum() == 9  # the mask under review
        assert asked.best is None
        assert result.warnings == ()

    def test_the_slice_that_two_neighbours_speak_against_comes_first(
        self, play: PlayTarget
    ) -> None:
        # slice 2, the last one, is far larger than slice 3; but it is slice 3 that is wrong
        carry = {5: square(20), 3: square(3, left=15, top=15), 2: square(20)}

        turns, result, _ = play({4: square(20)}, carry)

        assert slices_asked(turns, Role.REVIEW) == [3]
        assert areas(result)[2:6] == [400] * 4

    def test_a_dip_that_is_drawn_again_as_it_was_is_filled(self, play: PlayTarget) -> None:
        dip = square(3, left=15, top=15)
        carry = {3: square(20), 5: dip, 6: square(20), 7: square(20)}

        turns, result, _ = play({4: square(20)}, carry, {5: [dip, Stop(), Stop()]})

        assert areas(result)[5] == 400
        assert result.warnings == (
            "slice 5 was filled from its neighbours: its area is far smaller than its neighbours'",
        )
        redrawn = [turn for turn in turns if turn.role is Role.REVIEW]
        assert [turn.outcome for turn in redrawn] == ["unchanged", "refused", "stopped"]

    def test_a_runaway_key_slice_is_seen_from_its_neighbours(self, play: PlayTarget) -> None:
        # the key slice itself was drawn far too large: shrinking is no drift, so the carry went on
        carry = {3: square(10), 5: square(10), 6: square(10)}

        _, result, _ = play({4: square(50)}, carry)

        assert areas(result)[3:7] == [100] * 4
        assert (
            "slice 4 was filled from its neighbours: its area is far larger" in result.warnings[0]
        )

    def test_a_runaway_at_the_end_is_cut(self, play: PlayTarget) -> None:
        # drawn from both sides: slice 6 was a key slice of its own, and shares nothing with slice 5
        _, result, _ = play(
            {4: square(12), 6: square(12, left=45)}, {5: square(12), 7: [Absent()], 3: square(12)}
        )

        assert areas(result) == [0, 0, 0, 144, 144, 144, 0, 0, 0]
        assert "slice 6 was cut: it does not lie on its neighbours" in result.warnings

    def test_a_redrawn_slice_must_fit(self, play: PlayTarget) -> None:
        carry = {3: square(20), 5: square(3, left=15, top=15), 6: square(20)}

        turns, result, _ = play(
            {4: square(20)}, carry, {5: [square(60, left=0, top=0), square(18), Stop()]}
        )

        redrawn = [turn for turn in turns if turn.role is Role.REVIEW]
        assert [turn.outcome for turn in redrawn] == ["rolled_back", "kept", "stopped"]
        assert areas(result)[5] == 18 * 18

    def test_the_review_has_a_budget_and_says_so(self, play: PlayTarget) -> None:
        survey = Localisation((1.0,) * 9, (0, 2, 4))

        turns, result, _ = play(
            {0: square(10), 2: square(10), 4: square(10)},
            {6: square(10)},
            survey=survey,
            limits=Limits(review_slices=1),
        )

        assert len(slices_asked(turns, Role.REVIEW)) == 1
        assert any("2 slices more than were reviewed" in warning for warning in result.warnings)

    def test_a_filled_slice_counts_half_in_the_confidence(self, play: PlayTarget) -> None:
        _, result, _ = play({4: square(10)}, {6: square(10)})

        assert result.confidence == pytest.approx((0.9 + 0.45 + 0.9) / 3)
