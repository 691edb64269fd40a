"""Between two drawn slices: interpolated where they agree, drawn where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from agent.actions import Action
from agent.fakes import ArraySlices, ScriptedPolicy
from agent.limits import Limits
from agent.ports import Localisation
from agent.turns import WHOLE_VOLUME, Turn
from agent.values import Role
from agent.volume.filling import fill, record_filled, refill
from agent.volume.target_state import EpisodeConfig, TargetState
from tests.support.agent.box_scripts import LIVER, FillsBoxes, by_slice, slices_asked, square
from tests.support.fixture_types import RunToEnd

SIDE = 64


def mask(side: int) -> np.ndarray:
    """A square as `box_scripts.square` draws it."""
    drawn = np.zeros((SIDE, SIDE), dtype=np.bool_)
    drawn[10 : 10 + side, 10 : 10 + side] = True
    return drawn


def state_of(
    sides: Mapping[int, int],
    said: Mapping[int, Any] | None = None,
    presence: tuple[float, ...] = (),
    scores: Mapping[int, float] | None = None,
) -> TargetState:
    """A target with squares of these `sides` by slice, 0.9 their score; `said` on other slices."""
    segmenter = FillsBoxes()
    slices = ArraySlices(np.zeros((9, SIDE, SIDE), dtype=np.float32), segmenter)
    policy = ScriptedPolicy(Localisation((), ()), by_slice(Role.CARRY, said or {}))
    config = EpisodeConfig(policy, segmenter, Limits(draw_step_mm=4.0))
    state = TargetState(LIVER, slices, config, presence)
    for z, side in sides.items():
        state.put(z, mask(side), (scores or {}).get(z, 0.9))
    return state


class TestAgreement:
    def test_equal_slices_have_their_like_between_them(self, run: RunToEnd) -> None:
        state = state_of({0: 20, 4: 20})

        turns, _ = run(fill(state, 0, 4))

        assert turns == []
        assert sorted(state.masks) == [0, 1, 2, 3, 4]
        assert all(np.array_equal(state.masks[z], mask(20)) for z in (1, 2, 3))
        assert state.interpolated == dict.fromkeys((1, 2, 3), (0, 4))

    def test_the_score_is_no_higher_than_that_of_either(self, run: RunToEnd) -> None:
        state = state_of({0: 20, 2: 21}, scores={0: 0.9, 2: 0.6})

        run(fill(state, 0, 2))

        agreement = 2 * 400 / (400 + 441)
        assert state.scores[1] == pytest.approx(0.6 * (1 + agreement) / 2)
        assert state.scores[1] < 0.6

    def test_slices_side_by_side_have_nothing_between_them(self, run: RunToEnd) -> None:
        state = state_of({0: 20, 1: 20})

        run(fill(state, 0, 1))

        assert sorted(state.masks) == [0, 1]


class TestDisagreement:
    def test_the_middle_is_drawn_and_each_half_looked_at_again(self, run: RunToEnd) -> None:
        # Dice of 20 and 26: 0.74; of 20 and 21: 0.95; of 21 and 26: 0.79, of 24 and 26: 0.92
        state = state_of({0: 20, 4: 26}, {2: square(21), 3: square(24)})

        turns, _ = run(fill(state, 0, 4))

        assert slices_asked(turns, Role.CARRY) == [2, 3]
        assert state.interpolated == {1: (0, 2)}
        assert [int(state.masks[z].sum()) for z in (2, 3)] == [441, 576]

    def test_beside_an_empty_slice_every_one_is_drawn(self, run: RunToEnd) -> None:
        state = state_of({0: 20}, {2: square(20), 3: square(20)})

        turns, _ = run(fill(state, 0, 4))

        assert slices_asked(turns, Role.CARRY) == [2, 3]
        assert sorted(state.masks) == [0, 1, 2, 3]
        assert state.interpolated == {1: (0, 2)}

    def test_a_slice_that_the_survey_rules_out_is_not_drawn(self, run: RunToEnd) -> None:
        state = state_of({0: 20, 2: 30}, {1: square(25)}, presence=(1.0, 0.0, 1.0, *[0.0] * 6))

        turns, _ = run(fill(state, 0, 2))

        assert turns == []
        assert sorted(state.masks) == [0, 2]

    def test_between_two_empty_slices_nobody_looks(self, run: RunToEnd) -> None:
        turns, _ = run(fill(state_of({8: 20}, {2: square(20)}), 0, 4))

        assert turns == []


class TestChanges:
    def filled(self, run: RunToEnd, said: Mapping[int, list[Action]] | None = None) -> TargetState:
        state = state_of({0: 20, 4: 20, 8: 20}, said)
        run(fill(state, 0, 4))
        run(fill(state, 4, 8))
        return state

    def told(self, turns: list[Turn]) -> list[tuple[int, ...]]:
        whole = [turn for turn in turns if turn.slice_index == WHOLE_VOLUME]
        assert all(turn.role is Role.FILL for turn in whole)
        return [turn.action.slices for turn in whole if hasattr(turn.action, "slices")]

    def test_what_came_from_a_slice_comes_anew_when_it_changes(self, run: RunToEnd) -> None:
        state = self.filled(run)
        state.put(4, mask(21), 0.8)

        turns, _ = run(refill(state, [4]))

        assert self.told(turns) == [(1, 2, 3, 5, 6, 7)]
        assert state.masks[3].sum() > 400
        assert state.scores[3] < 0.8

    def test_a_slice_drawn_between_bounds_what_is_interpolated(self, run: RunToEnd) -> None:
        state = self.filled(run)
        state.put(2, mask(21), 0.8)

        turns, _ = run(refill(state, [2]))

        assert self.told(turns) == [(1, 3)]
        assert {z: state.interpolated[z] for z in (1, 3)} == {1: (0, 2), 3: (2, 4)}
        assert 2 not in state.interpolated

    def test_where_a_slice_was_cut_the_others_are_drawn(self, run: RunToEnd) -> None:
        state = self.filled(run, {5: [square(20)], 6: [square(20)], 7: [square(20)]})
        state.take(8)

        turns, _ = run(refill(state, [8]))

        assert slices_asked(turns, Role.CARRY)[:2] == [6, 7]
        assert state.interpolated == {**dict.fromkeys((1, 2, 3), (0, 4)), 5: (4, 6)}

    def test_what_others_came_from_stays(self, run: RunToEnd) -> None:
        state = self.filled(run)
        before = state.masks[6]
        state.put(0, mask(21), 0.8)

        turns, _ = run(refill(state, [0]))

        assert self.told(turns) == [(1, 2, 3)]
        assert state.masks[6] is before

    def test_without_a_change_nothing_is_said(self, run: RunToEnd) -> None:
        assert run(refill(self.filled(run), []))[0] == []

    def test_a_turn_names_the_slices_and_where_they_come_from(self, run: RunToEnd) -> None:
        state = self.filled(run)

        (turn,), _ = run(record_filled(state, frozenset({5, 6, 7})))

        assert turn.observation == "interpolated, each between the nearest two of slices 0, 4"
        assert turn.masks is not None
        assert sorted(turn.masks.unpacked()) == [1, 2, 3]
        assert turn.slice_scores == (0.9, 0.9, 0.9)
