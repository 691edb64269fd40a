"""An episode beside its truth: which mask stands, what a click was worth, what form a reply has."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, Stop
from agent.protocol.dialects import Dialect, render_reply
from agent.protocol.view import View
from agent.training.episode_facts import (
    EpisodeFacts,
    click_in_error,
    episode_facts,
    overlap,
    well_formed,
)
from agent.turn_masks import TurnMasks
from agent.turns import Episode, Outcome, Turn
from agent.values import Box, Point, Role

TRUTH = np.zeros((10, 10), dtype=np.bool_)
TRUTH[2:6, 2:6] = True  # 16 pixels
HALF = np.zeros_like(TRUTH)
HALF[2:6, 2:4] = True  # 8 of them
EMPTY = np.zeros_like(TRUTH)
BOX, VIEW = AddBox(Box(1, 1, 7, 7)), View.squash((10, 10), (10, 10))


def turn(action: Action, outcome: Outcome, mask: np.ndarray | None = None, reply: str = "") -> Turn:
    masks = None if mask is None else TurnMasks.of({3: mask})
    return Turn(3, 0, Role.KEY, action, outcome, reply, masks=masks)


def facts_of(*turns: Turn, truth: np.ndarray = TRUTH) -> EpisodeFacts:
    return episode_facts(Episode(turns, None, 0.0), truth, Dialect.TOOL_CALL)


class TestStandingMask:
    def test_a_mask_that_was_undone_does_not_count(self) -> None:
        facts = facts_of(
            turn(BOX, Outcome.KEPT, HALF),
            turn(BOX, Outcome.ROLLED_BACK, EMPTY),
            turn(BOX, Outcome.KEPT, TRUTH),
            turn(Stop(), Outcome.STOPPED),
        )
        assert [one.iou for one in facts.turns] == [0.5, 0.5, 1.0, 1.0]
        assert facts.overlaps == ((0.5, 2 / 3), (0.5, 2 / 3), (1.0, 1.0))  # stop draws none
        assert (facts.final_iou, facts.ended_by_itself) == (1.0, True)

    def test_without_a_mask_there_is_no_overlap(self) -> None:
        facts = facts_of(turn(Malformed("?"), Outcome.REFUSED))
        assert (facts.turns[0].iou, facts.turns[0].drew, facts.final_iou) == (None, False, 0.0)
        assert not facts.ended_by_itself

    @pytest.mark.parametrize(("truth", "final"), [(TRUTH, 0.0), (EMPTY, 1.0)])
    def test_absent_discards_the_mask(self, truth: np.ndarray, final: float) -> None:
        kept = turn(BOX, Outcome.KEPT, HALF)
        facts = facts_of(kept, turn(Absent(), Outcome.ABSENT), truth=truth)
        assert (facts.turns[1].iou, facts.final_iou) == (None, final)
        assert facts.answered_absent
        assert facts.truth_absent is (final == 1.0)

    def test_a_kept_turn_needs_its_mask(self) -> None:
        with pytest.raises(ValueError, match="its mask is not there"):
            facts_of(turn(BOX, Outcome.KEPT))

    def test_a_truth_of_another_size_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cannot be compared"):
            facts_of(turn(BOX, Outcome.KEPT, HALF), truth=np.ones((4, 4), dtype=np.bool_))


class TestClick:
    @pytest.mark.parametrize(
        ("point", "mask", "right"),
        [
            (Point(5, 3), HALF, True),  # left out: x 5, y 3
            (Point(3, 3), HALF, False),  # in it already
            (Point(8, 3), HALF, False),  # outside the truth
            (Point(3, 3), None, True),  # without a mask all is left out
            (Point(5.4, 5.4), HALF, True),  # the nearest pixel
            (Point(8, 3, positive=False), ~TRUTH, True),  # too much
            (Point(3, 3, positive=False), HALF, False),  # right where it is
            (Point(8, 3, positive=False), None, False),
            (Point(12, 3), HALF, False),  # beside the image
            (Point(-1, 3), HALF, False),
        ],
    )
    def test_in_the_error_that_it_names(
        self, point: Point, mask: NDArray[np.bool_] | None, right: bool
    ) -> None:
        assert click_in_error(point, mask, TRUTH) is right

    def test_is_judged_on_the_mask_before_it(self) -> None:
        click = AddPoint(Point(5, 3))
        facts = facts_of(turn(BOX, Outcome.KEPT, HALF), turn(click, Outcome.KEPT, TRUTH))
        assert [one.click_in_error for one in facts.turns] == [None, True]


class TestForm:
    @pytest.mark.parametrize("action", [BOX, AddPoint(Point(2, 2)), Stop(), Absent("gone")])
    @pytest.mark.parametrize("dialect", Dialect)
    def test_what_we_write_has_it(self, action: Action, dialect: Dialect) -> None:
        assert well_formed(render_reply(action, VIEW, dialect, "It is there."), action, dialect)

    @pytest.mark.parametrize(
        ("reply", "action"),
        [
            ("<action>Terminate</action><answer>Right.</answer>", Stop()),  # no thought
            ("<think>So.</think><action>Terminate</action>", Stop()),  # no answer
            ("<think>A</think><action>Box (0,0,1,1)</action><answer>B</answer>", BOX),
            ("<think>A</think>So: <action>Box (0,0,1,1)</action>", BOX),  # words between
            ("<think>A</think><action>Box (0,0,1,1)</action> Done.", BOX),  # and behind
            ("<think>A</think><think>B</think><action>Box (0,0,1,1)</action>", BOX),
        ],
    )
    def test_thought_then_action_then_answer(self, reply: str, action: Action) -> None:
        assert not well_formed(reply, action, Dialect.THINK_ACTION)

    @pytest.mark.parametrize("dialect", Dialect)
    def test_a_reply_without_an_action_has_none(self, dialect: Dialect) -> None:
        assert not well_formed("I see it.", Malformed("no action"), dialect)


class TestOverlap:
    @pytest.mark.parametrize(
        ("mask", "truth", "expected"),
        [
            (TRUTH, TRUTH, (1.0, 1.0)),
            (EMPTY, EMPTY, (1.0, 1.0)),  # both say that nothing is there
            (EMPTY, TRUTH, (0.0, 0.0)),
            (TRUTH, EMPTY, (0.0, 0.0)),
            (HALF, TRUTH, (0.5, 2 / 3)),
        ],
    )
    def test_of_two_masks(
        self, mask: NDArray[np.bool_], truth: NDArray[np.bool_], expected: tuple[float, float]
    ) -> None:
        assert overlap(mask, truth) == pytest.approx(expected)
