"""Objects followed by the segmenter itself: all in one pass, only as far as they live, corrected
where it matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from agent.actions import Absent, NameSlices, Stop
from agent.errors import NoAnswer, SegmenterFailed
from agent.fakes import ArraySlices, FakeVolumeSegmenter, ScriptedPolicy, segmentation
from agent.limits import Limits
from agent.ports import ContinueIf, Localisation, PropagatedSlice, Reply, Seed, Slices
from agent.turns import WHOLE_VOLUME, Outcome
from agent.values import Role, Target, TargetStatus
from agent.volume.order import segment_target
from agent.volume.outline import outline_target
from agent.volume.propagate import PropagationRange, affected_range, follow
from agent.volume.run import finish_target, follow_outlines
from agent.volume.target_state import EpisodeConfig, TargetState
from tests.support.agent.towers import DEPTH, LIVER, SIDE, SPLEEN, boxed, tower
from tests.support.fixture_types import RunToEnd

LIVER_LIVES, SPLEEN_LIVES = range(2, 10), range(4, 8)


def planner(key: int, left: int, **kinds: Any) -> ScriptedPolicy:
    return ScriptedPolicy(Localisation((), (key,)), {(key, Role.KEY): boxed(left)}, **kinds)


class TestOnePass:
    def test_all_targets_go_through_the_volume_together(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        # Arrange
        limits = Limits()
        outlines = []
        for target, key, left in ((LIVER, 5, 6), (SPLEEN, 6, 28)):
            _, outline = run(outline_target(target, slices, planner(key, left), segmenter, limits))
            outlines.append(outline)

        # Act
        config = EpisodeConfig(planner(5, 6), segmenter, limits)
        liver, spleen = follow_outlines(outlines, slices, config)

        # Assert: both are whole, and no slice was drawn in more than one go a direction
        assert sorted(liver.masks) == list(LIVER_LIVES)
        assert sorted(spleen.masks) == list(SPLEEN_LIVES)
        visits = [z for z, _ in segmenter.steps]
        assert len(visits) == len(set(visits))
        assert (7, (0, 1)) in segmenter.steps
        assert (4, (0, 1)) in segmenter.steps

    def test_the_way_is_a_turn_on_record(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        turns, result = run(segment_target(LIVER, slices, planner(5, 6), segmenter))

        (followed,) = [turn for turn in turns if turn.slice_index == WHOLE_VOLUME]
        assert followed.role is Role.CARRY
        assert followed.action == NameSlices((2, 3, 4, 6, 7, 8, 9))
        assert followed.observation == "followed from slice 5 to 7 more slices"
        assert result.turns == tuple(turns)
        assert result.status is TargetStatus.SEGMENTED
        assert [z for z in range(DEPTH) if result.voxels[z].any()] == list(LIVER_LIVES)

    def test_a_single_slice_is_not_followed(
        self, run: RunToEnd, segmenter: FakeVolumeSegmenter
    ) -> None:
        slices = ArraySlices(tower()[5:6], segmenter)

        _, result = run(segment_target(LIVER, slices, planner(0, 6), segmenter))

        assert segmenter.steps == []
        assert result.voxels.sum() == 12 * 12

    def test_what_has_ended_stays_as_it_is(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        nowhere = ScriptedPolicy(Localisation((), (), "not there"), {})
        _, absent = run(outline_target(LIVER, slices, nowhere, segmenter))
        config = EpisodeConfig(nowhere, segmenter)

        (same,) = follow_outlines([absent], slices, config)
        _, result = run(finish_target(same, slices, config))

        assert same is absent
        assert result.status is TargetStatus.ABSENT
        assert result.reason == "not there"

    def test_a_segmenter_that_fails_to_follow_leaves_it_to_carrying(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        # Arrange
        class Failing(FakeVolumeSegmenter):
            def propagate(
                self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
            ) -> Iterator[PropagatedSlice]:
                raise SegmenterFailed("no memory left")

        policy = ScriptedPolicy(
            Localisation((), (5,)),
            {(5, Role.KEY): boxed(6)}
            | {(z, Role.CARRY): boxed(6) for z in (3, 4, 6, 7)}
            | {Role.CARRY: [Absent()] * 10},
        )

        # Act
        _, result = run(segment_target(LIVER, slices, policy, Failing()))

        # Assert
        assert [z for z in range(DEPTH) if result.voxels[z].any()] == [3, 4, 5, 6, 7]
        assert "carried slice by slice: no memory left" in result.warnings


class Drawing(FakeVolumeSegmenter):
    """Draws what it is told to, slice by slice: (mask's side, score)."""

    def __init__(self, says: dict[int, tuple[int, float]]) -> None:
        super().__init__()
        self.says = says
        self.seeds: Sequence[Seed] = ()

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        self.seeds = seeds
        lowest, highest = seeds[0].lowest, seeds[0].highest
        assert lowest is not None
        assert highest is not None
        for way in (range(6, highest + 1), range(4, lowest - 1, -1)):
            for z in way:
                side, score = self.says.get(z, (0, 0.0))
                mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
                mask[8 : 8 + side, 6 : 6 + side] = True
                followed = PropagatedSlice(0, z, segmentation(mask, score), score)
                if not continue_if(followed):
                    break
                yield followed


def canvas_with(segmenter: Any, slices: Slices, **kinds: Any) -> TargetState:
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    mask[8:20, 6:18] = True
    config = EpisodeConfig(planner(5, 6), segmenter, Limits())
    return TargetState(
        LIVER, slices, config, masks={5: mask}, scores={5: 1.0}, key_slices=[5], **kinds
    )


class TestEnds:
    def test_an_unsure_model_ends_the_object(self, slices: ArraySlices) -> None:
        drawing = Drawing({6: (12, 0.9), 7: (12, 0.4), 8: (12, 0.9)})
        target_state = canvas_with(drawing, slices)

        follow([target_state], slices, drawing)

        assert sorted(target_state.masks) == [5, 6]

    def test_an_opinion_that_is_no_number_ends_the_object(self, slices: ArraySlices) -> None:
        drawing = Drawing({6: (12, 0.9), 7: (12, float("nan")), 8: (12, 0.9)})
        target_state = canvas_with(drawing, slices)

        follow([target_state], slices, drawing)

        assert sorted(target_state.masks) == [5, 6]

    def test_a_flood_is_stopped_and_said(self, slices: ArraySlices) -> None:
        drawing = Drawing({6: (12, 0.9), 7: (36, 0.9), 8: (36, 0.9)})
        target_state = canvas_with(drawing, slices)

        follow([target_state], slices, drawing)

        assert sorted(target_state.masks) == [5, 6]
        (warning,) = target_state.warnings
        assert "slice 7: the area jumped to 9.0 times" in warning

    def test_the_survey_bounds_the_way(self, slices: ArraySlices) -> None:
        drawing = Drawing(dict.fromkeys(range(DEPTH), (12, 0.9)))
        presence = (0.0, 0.0, 0.0, 0.0, 0.9, 1.0, 0.9, 0.0, 0.8, 0.0, 0.0, 0.9)
        target_state = canvas_with(drawing, slices, presence=presence)

        follow([target_state], slices, drawing)

        # one unlikely slice is gone through (7), two in a row are not (9 and 10)
        assert (drawing.seeds[0].lowest, drawing.seeds[0].highest) == (4, 8)
        assert sorted(target_state.masks) == [4, 5, 6, 7, 8]

    def test_a_score_is_the_opinion_of_both(self, slices: ArraySlices) -> None:
        drawing = Drawing({6: (12, 0.8)})
        target_state = canvas_with(drawing, slices)

        follow([target_state], slices, drawing)

        # the scripted policy repeats the model's predicted IoU, 0.8, and the model is sure to 0.8
        assert target_state.scores[6] == pytest.approx(0.64)


class TestCorrections:
    def test_only_as_far_as_the_next_trusted_masks(
        self, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        target_state = canvas_with(segmenter, slices)
        target_state.masks.update(dict.fromkeys(LIVER_LIVES, target_state.masks[5]))
        target_state.key_slices.append(9)

        assert affected_range(target_state, [7]) == PropagationRange((5, 7, 9), 6, 8)
        assert affected_range(target_state, [3]) == PropagationRange((3, 5), 0, 4)
        assert affected_range(target_state, []) is None

    def test_a_correction_ends_where_nothing_changes(self, slices: ArraySlices) -> None:
        # Arrange: slices 2 to 9 are drawn; followed again, slice 6 changes and slice 7 does not
        drawing = Drawing({6: (10, 0.9), 7: (12, 0.9), 8: (12, 0.9)})
        target_state = canvas_with(drawing, slices)
        target_state.masks.update(dict.fromkeys(LIVER_LIVES, target_state.masks[5]))
        target_state.scores.update(dict.fromkeys(LIVER_LIVES, 0.5))

        # Act
        follow([target_state], slices, drawing, [PropagationRange((5,), 0, DEPTH - 1)])

        # Assert
        assert target_state.masks[6].sum() == 100
        assert (target_state.scores[7], target_state.scores[8]) == (0.5, 0.5)


class TestSurveysOnRecord:
    def test_each_reply_is_a_turn(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        said = (Reply(NameSlices((5,)), "the dome is on slice 5"),)
        policy = ScriptedPolicy(Localisation((), (5,), replies=said), {(5, Role.KEY): boxed(6)})

        turns, _ = run(segment_target(LIVER, slices, policy, segmenter))

        assert (turns[0].slice_index, turns[0].role) == (WHOLE_VOLUME, Role.SURVEY)
        assert turns[0].outcome is Outcome.KEPT
        assert turns[1].slice_index == 5

    def test_a_survey_without_an_answer_fails_with_its_turns(
        self, run: RunToEnd, slices: ArraySlices, segmenter: FakeVolumeSegmenter
    ) -> None:
        class Mute(ScriptedPolicy):
            def localise(self, target: Target, slices: Slices) -> Localisation:
                raise NoAnswer("nothing that could be read", (Reply(Stop(), "hm"),))

        turns, result = run(
            segment_target(LIVER, slices, Mute(Localisation((), ()), {}), segmenter)
        )

        assert result.status is TargetStatus.FAILED
        assert result.reason == "nothing that could be read"
        assert [turn.reply for turn in turns] == ["hm"]
