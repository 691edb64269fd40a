"""Every term of every reward by hand from the papers' formulas, with constants written again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, Stop
from agent.training.episode_facts import EpisodeFacts, TurnFacts
from agent.training.rewards import (
    REWARDS,
    Reward,
    RewardName,
    ibis_reward,
    ibis_turn_terms,
    medsam_agent_reward,
    segnode_reward,
)
from agent.turns import Outcome
from agent.values import Box, Point

BOX, CLICK = AddBox(Box(1, 1, 5, 5)), AddPoint(Point(2, 2))
STOP = TurnFacts(Stop(), Outcome.STOPPED)
ABSENT = TurnFacts(Absent(), Outcome.ABSENT)
MALFORMED = TurnFacts(Malformed("no action"), Outcome.REFUSED, well_formed=False)


def drew(
    iou: float, dice: float, action: Action = BOX, outcome: Outcome = Outcome.KEPT
) -> TurnFacts:
    return TurnFacts(action, outcome, drew=True, iou=iou, dice=dice)


def clicked(iou: float, *, right: bool | None, well_formed: bool = True) -> TurnFacts:
    return TurnFacts(CLICK, Outcome.KEPT, True, iou, iou, right, well_formed)


def episode(*turns: TurnFacts, absent: bool = False) -> EpisodeFacts:
    return EpisodeFacts(turns, truth_absent=absent)


class TestMedsamAgent:
    @pytest.mark.parametrize(
        ("turns", "form"),
        [
            ((drew(0.5, 0.6), STOP), 1.0),
            ((drew(0.5, 0.6, CLICK), STOP), 1.0),  # a point draws too
            ((drew(0.5, 0.6),), 0.5),  # drawn, never stopped
            ((STOP,), 0.5),  # stopped, nothing drawn
            ((drew(0.5, 0.6), STOP, MALFORMED), 1.0),  # a reply without a call is no last call
            ((drew(0.5, 0.6), STOP, drew(0.5, 0.6)), 0.5),  # stop is not the last call
            ((ABSENT,), 0.0),  # the paper knows no "absent"
            ((MALFORMED,), 0.0),
            ((), 0.0),
        ],
    )
    def test_form(self, turns: Sequence[TurnFacts], form: float) -> None:
        assert medsam_agent_reward(episode(*turns)).terms["form"] == form

    def test_one_mask_is_the_mean_of_both_overlaps_uncorrected(self) -> None:
        reward = medsam_agent_reward(episode(drew(0.6, 0.75), STOP))
        assert reward.terms == pytest.approx(
            {"form": 1, "quality": 0.675, "base": 0.675, "overshoot": 0, "turns": 0, "improve": 0}
        )
        assert reward.total == pytest.approx(0.2 * 1 + 0.8 * 0.675)

    def test_gains_are_a_tenth_and_a_mask_a_hundredth(self) -> None:
        reward = medsam_agent_reward(episode(drew(0.4, 0.5), drew(0.6, 0.7), drew(0.8, 0.9), STOP))
        assert reward.terms["base"] == pytest.approx(0.85)
        assert reward.terms["improve"] == pytest.approx(0.1 * (0.2 + 0.2))
        assert reward.terms["turns"] == pytest.approx(0.03)
        assert reward.terms["quality"] == pytest.approx(0.85 - 0.03 + 0.04)

    def test_what_was_lost_since_the_best_mask_counts_in_full(self) -> None:
        reward = medsam_agent_reward(episode(drew(0.8, 0.9), drew(0.5, 0.6), STOP))
        assert reward.terms["overshoot"] == pytest.approx(0.3)
        assert reward.terms["improve"] == 0
        assert reward.terms["quality"] == pytest.approx(0.55 - 0.3 - 0.02)

    def test_a_loss_below_a_millionth_is_none(self) -> None:
        nearly = medsam_agent_reward(episode(drew(0.8, 0.9), drew(0.8 - 9e-7, 0.9)))
        enough = medsam_agent_reward(episode(drew(0.8, 0.9), drew(0.8 - 2e-6, 0.9)))
        assert (nearly.terms["overshoot"], enough.terms["overshoot"] > 0) == (0, True)

    def test_dice_of_zero_leaves_the_iou_alone(self) -> None:
        assert medsam_agent_reward(episode(drew(0.4, 0.0))).terms["base"] == pytest.approx(0.4)

    def test_quality_is_clipped_to_0_and_1(self) -> None:
        low = medsam_agent_reward(episode(drew(1.0, 1.0), drew(0.0, 0.0)))
        high = medsam_agent_reward(episode(drew(0.0, 0.0), drew(1.0, 1.0)))
        assert (low.terms["quality"], high.terms["quality"]) == (0.0, 1.0)  # 0 - 1 - .02, 1 + .08

    def test_turns_without_a_mask_cost_nothing(self) -> None:
        reward = medsam_agent_reward(episode(MALFORMED, drew(0.5, 0.5), MALFORMED, STOP))
        assert reward.terms["turns"] == 0

    def test_no_mask_is_worth_the_form_alone(self) -> None:
        assert medsam_agent_reward(episode(STOP)).total == pytest.approx(0.1)

    def test_at_most_32_masks_are_looked_at(self) -> None:
        reward = medsam_agent_reward(episode(*[drew(0.5, 0.5)] * 32, drew(1.0, 1.0)))
        assert reward.terms["base"] == 0.5
        assert reward.terms["turns"] == pytest.approx(0.32)


class TestIbis:
    @pytest.mark.parametrize(
        ("iou", "points"),
        [(0.81, 3), (0.80, 2), (0.71, 2), (0.70, 1), (0.51, 1), (0.50, 0), (0.0, 0)],
    )
    def test_answer_needs_more_than_each_threshold(self, iou: float, points: float) -> None:
        assert ibis_turn_terms(clicked(iou, right=True), 0.0)["answer"] == points

    @pytest.mark.parametrize(
        ("turn", "points"),
        [
            (clicked(0.5, right=True), 1),
            (clicked(0.5, right=False), -1),
            (MALFORMED, -1),  # otherwise -1
            (drew(0.5, 0.5, BOX), 0),  # a box is no click
            (STOP, 0),
            (ABSENT, 0),
        ],
    )
    def test_click(self, turn: TurnFacts, points: float) -> None:
        assert ibis_turn_terms(turn, 0.0)["click"] == points

    def test_progress_needs_a_better_iou_and_an_action_that_goes_on(self) -> None:
        ended = TurnFacts(Stop(), Outcome.STOPPED, iou=0.6, dice=0.7)
        assert ibis_turn_terms(clicked(0.6, right=True), 0.5)["progress"] == 1
        assert ibis_turn_terms(clicked(0.6, right=True), 0.6)["progress"] == 0
        assert ibis_turn_terms(ended, 0.5)["progress"] == 0

    @pytest.mark.parametrize(
        ("step", "points"), [(None, 0), (1, 1), (5, 1), (6, -0.2), (8, -0.6), (20, -3.0)]
    )
    def test_length(self, step: int | None, points: float) -> None:
        assert ibis_turn_terms(STOP, 0.0, step)["length"] == pytest.approx(points)

    def test_form(self) -> None:
        assert ibis_turn_terms(clicked(0.5, right=True), 0)["form"] == 1
        assert ibis_turn_terms(clicked(0.5, right=True, well_formed=False), 0)["form"] == 0

    def test_an_episode_is_the_mean_of_its_turns(self) -> None:
        stop = TurnFacts(Stop(), Outcome.STOPPED, iou=0.85, dice=0.9)
        reward = ibis_reward(episode(clicked(0.6, right=True), clicked(0.85, right=False), stop))
        # (1+1+1+1+1), (1+3-1+1+1), (1+3+0+0+1), each over 5, and their mean
        assert reward.total == pytest.approx((5 + 5 + 5) / 5 / 3)
        assert reward.terms == pytest.approx(
            {"form": 1, "answer": 7 / 3, "click": 0, "progress": 2 / 3, "length": 1}
        )

    def test_no_turns_are_worth_nothing(self) -> None:
        assert ibis_reward(episode()).total == 0


class TestSegnode:
    def test_a_drawn_structure_with_a_stop(self) -> None:
        reward = segnode_reward(episode(drew(0.6, 0.75), STOP))
        assert reward.terms["form"] == 1
        assert reward.terms["quality"] == pytest.approx(0.675 - 0.01)
        assert reward.total == pytest.approx(0.2 + 0.8 * 0.665)

    @pytest.mark.parametrize(
        "outcome",
        [
            Outcome.ROLLED_BACK,
            Outcome.UNCHANGED,
            Outcome.DUPLICATE,
            Outcome.REFUSED,
            Outcome.NO_MASK,
        ],
    )
    def test_a_turn_that_changes_nothing_earns_nothing_and_costs_a_hundredth(
        self, outcome: Outcome
    ) -> None:
        idle = TurnFacts(BOX, outcome, drew=outcome is Outcome.UNCHANGED, iou=0.6, dice=0.75)
        reward = segnode_reward(episode(drew(0.6, 0.75), idle, STOP))
        assert reward.terms["form"] == pytest.approx(2 / 3)
        assert reward.terms["quality"] == pytest.approx(0.675 - 0.02)

    def test_a_budget_that_ends_it_halves_the_form(self) -> None:
        assert segnode_reward(episode(drew(0.6, 0.75))).terms["form"] == 0.5

    @pytest.mark.parametrize(
        ("turns", "absent", "form", "quality", "presence"),
        [
            ((ABSENT,), True, 1, 1, 1),  # right
            ((MALFORMED, ABSENT), True, 0.5, 0.99, 1),  # right, a turn late
            ((ABSENT,), False, 1, -1, 0),  # it is there
            ((drew(0.9, 0.9), ABSENT), False, 1, -1, 0),  # drawn, then given up
            ((drew(0.0, 0.0), STOP), True, 1, 0, 0),  # drew what is not there
            ((STOP,), True, 1, 0, 0),  # left it open
            ((STOP,), False, 1, 0, 1),  # nothing drawn, nothing denied
            ((), False, 0, 0, 1),
        ],
    )
    def test_absent_and_present(
        self,
        turns: Sequence[TurnFacts],
        absent: bool,
        form: float,
        quality: float,
        presence: float,
    ) -> None:
        reward = segnode_reward(episode(*turns, absent=absent))
        assert reward.terms["form"] == pytest.approx(form)
        assert reward.terms["quality"] == pytest.approx(quality)
        assert reward.terms["presence"] == presence
        assert reward.total == pytest.approx(0.2 * form + 0.8 * quality)

    @pytest.mark.parametrize(
        ("present", "denied"),
        [
            (1, 0.2),  # of two starts: 0.2 + 0.8 (1 - 1) / 2
            (2, 0.2 - 0.8),  # 0.2 + 0.8 (0 - 2) / 2
        ],
    )
    def test_absent_to_everything_earns_no_more_than_boxes_that_all_miss(
        self, present: int, denied: float
    ) -> None:
        def mean(*turns: TurnFacts) -> float:
            truths = [number >= present for number in range(2)]
            return sum(segnode_reward(episode(*turns, absent=no)).total for no in truths) / 2

        assert mean(ABSENT) == pytest.approx(denied)
        # 0.2 + 0.8 x 0: a mask that misses has no quality for its second turn to cost
        missed = mean(drew(0.0, 0.0), STOP)
        assert missed == pytest.approx(0.2)
        assert mean(ABSENT) <= missed + 1e-9
        # a blind box of IoU 0.1 and Dice 0.18, where it is there: 0.2 + 0.8 (0.14 - 0.01) x share
        assert mean(drew(0.1, 0.18), STOP) == pytest.approx(0.2 + 0.8 * 0.13 * present / 2)


def test_every_name_has_its_reward() -> None:
    assert dict(REWARDS) == {
        RewardName.MEDSAM_AGENT: medsam_agent_reward,
        RewardName.IBIS: ibis_reward,
        RewardName.SEGNODE: segnode_reward,
    }
    assert [str(name) for name in RewardName] == ["medsam-agent", "ibis", "segnode"]


@pytest.mark.parametrize("reward", [REWARDS[RewardName.MEDSAM_AGENT], segnode_reward])
def test_the_best_episode_is_worth_almost_1(reward: Callable[[EpisodeFacts], Reward]) -> None:
    assert 0.99 <= reward(episode(drew(1.0, 1.0), STOP)).total <= 1.0
