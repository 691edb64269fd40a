"""What a simulated reader proposes, kind by kind, and that his draws depend on names alone."""

from __future__ import annotations

from collections import Counter

import numpy as np

from agent.actions import AddBox, AddPoint
from agent.fakes import ellipse
from agent.training.reader_settings import ReaderSettings, TrajectoryKind
from agent.training.simulated_reader import Scene, SimulatedReader, drawn_kind, draws_for
from agent.turns import Outcome, Turn
from agent.values import Box, Point, PromptKind, Role

BOTH = frozenset({PromptKind.BOX, PromptKind.POINT})
BOXES = frozenset({PromptKind.BOX})
TRUTH = ellipse((64, 64), (30, 30), (14, 9))


def reader(
    kind: TrajectoryKind, prompts: frozenset[PromptKind] = BOTH, seed: int = 0
) -> SimulatedReader:
    return SimulatedReader(kind, ReaderSettings(), prompts, np.random.default_rng(seed))


def turn(action: AddBox | AddPoint, outcome: Outcome = Outcome.KEPT) -> Turn:
    return Turn(0, 0, Role.KEY, action, outcome)


FIRST = turn(AddBox(Box(16, 20, 36, 40)))
HALF = TRUTH & ellipse((64, 64), (22, 30), (14, 9))


def kinds_of(reader_: SimulatedReader, scene: Scene, count: int = 1) -> set[type]:
    proposals = [reader_.propose(scene) for _ in range(count)]
    return {type(proposal.action) for proposal in proposals if proposal is not None}


class TestKinds:
    def test_box_to_point_begins_with_a_box_and_goes_on_with_clicks(self) -> None:
        box_to_point = reader(TrajectoryKind.BOX_TO_POINT)

        assert kinds_of(box_to_point, Scene(TRUTH)) == {AddBox}
        assert kinds_of(box_to_point, Scene(TRUTH, HALF, (FIRST,))) == {AddPoint}

    def test_sequential_click_only_clicks(self) -> None:
        assert kinds_of(reader(TrajectoryKind.SEQUENTIAL_CLICK), Scene(TRUTH)) == {AddPoint}

    def test_mixed_does_both_at_any_turn(self) -> None:
        mixed = reader(TrajectoryKind.MIXED)

        assert kinds_of(mixed, Scene(TRUTH), 20) == {AddBox, AddPoint}
        assert kinds_of(mixed, Scene(TRUTH, HALF, (FIRST,)), 20) == {AddBox, AddPoint}

    def test_with_boxes_only_the_correction_is_a_box(self) -> None:
        for kind in (TrajectoryKind.BOX_TO_POINT, TrajectoryKind.MIXED):
            proposal = reader(kind, BOXES).propose(Scene(TRUTH, HALF, (FIRST,)))
            assert proposal is not None
            assert isinstance(proposal.action, AddBox)
            assert proposal.action.box.x1 > 42  # reaches what was left out at the right

    def test_with_clicks_only_there_is_no_box(self) -> None:
        points = frozenset({PromptKind.POINT})

        assert kinds_of(reader(TrajectoryKind.BOX_TO_POINT, points), Scene(TRUTH)) == {AddPoint}

    def test_a_self_correction_draws_a_new_box_after_a_wrong_one(self) -> None:
        wrong = turn(AddBox(Box(40, 40, 60, 60)))
        scene = Scene(TRUTH, ellipse((64, 64), (50, 50), (9, 9)), (wrong,))

        assert kinds_of(reader(TrajectoryKind.SELF_CORRECTION), scene) == {AddBox}


class TestProposals:
    def test_nothing_is_proposed_where_the_mask_is_the_truth(self) -> None:
        assert reader(TrajectoryKind.BOX_TO_POINT).propose(Scene(TRUTH, TRUTH, (FIRST,))) is None

    def test_the_first_try_of_a_click_is_the_oracles_the_next_are_others(self) -> None:
        clicking = reader(TrajectoryKind.SEQUENTIAL_CLICK)
        proposals = [clicking.propose(Scene(TRUTH), attempt) for attempt in range(4)]

        actions = [proposal.action for proposal in proposals if proposal is not None]

        assert actions[0] == AddPoint(Point(30.0, 30.0, positive=True))
        assert len(set(actions)) > 2

    def test_the_sentence_says_where_the_mask_is_wrong(self) -> None:
        opening = reader(TrajectoryKind.BOX_TO_POINT).propose(Scene(TRUTH))
        correction = reader(TrajectoryKind.BOX_TO_POINT).propose(Scene(TRUTH, HALF, (FIRST,)))

        assert opening is not None
        assert opening.sentence.endswith("lies in the middle of the picture.")
        assert correction is not None
        assert correction.sentence == "The mask leaves out a part at the right of the target."

    def test_what_was_rolled_back_is_not_corrected_further(self) -> None:
        undone = turn(AddBox(Box(0, 0, 5, 5)), Outcome.ROLLED_BACK)

        assert Scene(TRUTH, HALF, (FIRST, undone)).kept_box == Box(16, 20, 36, 40)


class TestDraws:
    def test_depend_on_the_names_alone(self) -> None:
        names = ("btcv", "ABD_001_100", "liver", 0, 1)

        assert draws_for(3, *names).random() == draws_for(3, *names).random()
        assert draws_for(3, *names).random() != draws_for(4, *names).random()
        assert draws_for(3, "a", "bc").random() != draws_for(3, "ab", "c").random()

    def test_kinds_come_in_their_shares(self) -> None:
        rng = np.random.default_rng(0)

        counts = Counter(drawn_kind(ReaderSettings(), BOTH, rng) for _ in range(2000))
        without_clicks = {drawn_kind(ReaderSettings(), BOXES, rng) for _ in range(300)}

        assert abs(counts[TrajectoryKind.BOX_TO_POINT] / 2000 - 0.5) < 0.05
        assert abs(counts[TrajectoryKind.SELF_CORRECTION] / 2000 - 0.2) < 0.05
        assert TrajectoryKind.SEQUENTIAL_CLICK not in without_clicks

    def test_a_mix_that_the_segmenter_cannot_have_is_boxes(self) -> None:
        clicks_only = ReaderSettings(mix={TrajectoryKind.SEQUENTIAL_CLICK: 1.0})

        kind = drawn_kind(clicks_only, BOXES, np.random.default_rng(0))

        assert kind is TrajectoryKind.BOX_TO_POINT
