"""A planner that looked at a slice is believed: its "absent" bars the way, its "stop" confirms."""

from __future__ import annotations

from itertools import repeat

import numpy as np

from agent.actions import Absent, Action, Stop
from agent.conditions import PictureSettings
from agent.fakes import ArraySlices, FakeVolumeSegmenter, ScriptedPolicy, ThresholdPolicy
from agent.limits import Limits
from agent.ports import Assessment, Localisation
from agent.replay import replay_target
from agent.trace import TracedTarget
from agent.turns import Outcome, TargetResult, Turn
from agent.values import Role, TargetStatus
from agent.volume.order import segment_target
from agent.volume.target_state import EpisodeConfig
from tests.support.agent.box_scripts import (
    DEPTH,
    LIVER,
    FillsBoxes,
    Script,
    areas,
    by_slice,
    slices_asked,
    square,
)
from tests.support.agent.towers import boxed
from tests.support.fixture_types import PlayTarget, RunToEnd

DECIDES = Limits(planner_decides=True)


class TestAbsentKeySlices:
    def test_no_mask_is_carried_into_one(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in (2, 3, 5, 6, 7, 8)}
        keys: Script = {4: square(10), 2: square(10), 6: [Absent("bowel here")]}

        turns, result, _ = play(keys, carry, limits=DECIDES)

        assert areas(result) == [0, 0, 100, 100, 100, 100, 0, 0, 0]
        assert 6 not in slices_asked(turns, Role.CARRY)
        assert result.warnings == ("not seen on slice 6, where it was looked for: bowel here",)

    def test_no_mask_is_followed_into_one(
        self, run: RunToEnd, segmenter: FakeVolumeSegmenter, slices: ArraySlices
    ) -> None:
        def segmented(limits: Limits) -> TargetResult:
            policy = ScriptedPolicy(
                Localisation((), (4, 5, 8)),
                {
                    **by_slice(Role.KEY, {4: boxed(6), 5: boxed(6), 8: [Absent("only fat")]}),
                    Role.REVIEW: repeat(Absent()),
                },
            )
            result: TargetResult
            _, result = run(segment_target(LIVER, slices, policy, segmenter, limits))
            return result

        reached = [area > 0 for area in areas(segmented(Limits()))]
        reached_when_believed = [area > 0 for area in areas(segmented(DECIDES))]
        assert reached == [2 <= z < 10 for z in range(12)]
        assert reached_when_believed == [2 <= z < 8 for z in range(12)]

    def test_where_most_are_absent_what_lies_beside_is_asked_first(self, play: PlayTarget) -> None:
        keys: Script = {
            2: [Absent("only lung")],
            6: [Absent()],
            4: square(10),
            **{z: [Absent("no longer seen")] for z in (1, 3, 7)},
            5: square(10),
        }
        survey = Localisation((), (2, 6, 4))

        turns, result, _ = play(keys, survey=survey, limits=DECIDES)

        assert slices_asked(turns, Role.KEY) == [2, 6, 4, 1, 3, 5, 7]
        assert slices_asked(turns, Role.CARRY) == []
        assert areas(result) == [0, 0, 0, 0, 100, 100, 0, 0, 0]
        assert "not seen on slices 1, 2, 3, 6, 7" in result.warnings[0]

    def test_absent_everywhere_is_absent_for_the_reason_that_was_given(
        self, play: PlayTarget
    ) -> None:
        keys: Script = {z: [Absent("this is the lung")] for z in (3, 4, 5)}

        turns, result, _ = play(keys, survey=Localisation((), (4,)), limits=DECIDES)

        assert slices_asked(turns, Role.KEY) == [4, 3, 5]
        assert result.status is TargetStatus.ABSENT
        assert result.reason == "this is the lung"

    def test_said_twice_after_a_mask_it_stands(self, play: PlayTarget) -> None:
        last_words: list[Action] = [square(10), Absent("a vessel"), Absent("that was a vessel")]
        keys: Script = {4: last_words, 3: [Absent()], 5: [Absent()]}

        turns, result, _ = play(keys, survey=Localisation((), (4,)), limits=DECIDES)

        assert [turn.outcome for turn in turns[:3]] == ["kept", "refused", "absent"]
        assert "once more" in turns[1].observation
        assert result.status is TargetStatus.ABSENT
        assert result.reason == "that was a vessel"

    def test_it_stands_where_no_turn_is_left_to_say_it_again(self, play: PlayTarget) -> None:
        carry: Script = {5: [square(10), Absent()], 6: [Absent()]}

        turns, result, _ = play({4: square(10)}, carry, limits=DECIDES)

        on_slice_5 = [turn.outcome for turn in turns if turn.slice_index == 5]
        assert on_slice_5 == [Outcome.KEPT, Outcome.ABSENT]
        assert areas(result)[5] == 0


A_DIP: Script = {3: square(20), 5: square(3, left=15, top=15), 6: square(20), 7: square(20)}


class TestReview:
    def test_stop_confirms_the_mask_in_doubt(self, play: PlayTarget) -> None:
        turns, result, policy = play({4: square(20)}, A_DIP, {5: [Stop()]}, limits=DECIDES)

        assert areas(result)[5] == 9
        assert turns[-1].outcome is Outcome.STOPPED
        assert turns[-1].observation == ""
        why = "its area is far smaller than its neighbours'"
        assert result.warnings == (f"slice 5 was kept on a second look, though {why}",)
        asked = next(seen for seen in policy.observations if seen.role is Role.REVIEW)
        assert asked.doubt == why

    def test_absent_is_not_filled(self, play: PlayTarget) -> None:
        review: Script = {5: [Absent("it is gone here")]}

        _, result, _ = play({4: square(20), 6: square(20)}, A_DIP, review, limits=DECIDES)

        assert areas(result)[4:7] == [400, 0, 400]
        assert result.warnings == ("slice 5 has no mask: it is gone here",)

    def test_a_slice_that_the_policy_named_is_not_said_to_misfit(self, run: RunToEnd) -> None:
        class Names(ScriptedPolicy):
            def assess(self, *_: object) -> Assessment:
                return Assessment((5,))

        policy = Names(
            Localisation((), (4,)),
            {
                **by_slice(Role.KEY, {4: square(10)}),
                **by_slice(Role.CARRY, {5: square(10), 6: square(10)}),
                **by_slice(Role.REVIEW, {5: [Stop()]}),
                Role.CARRY: repeat(Absent()),
            },
        )
        segmenter = FillsBoxes()
        slices = ArraySlices(np.zeros((DEPTH, 64, 64), dtype=np.float32), segmenter)

        result: TargetResult
        turns: list[Turn]
        turns, result = run(segment_target(LIVER, slices, policy, segmenter, DECIDES))

        asked = next(seen for seen in policy.observations if seen.role is Role.REVIEW)
        assert asked.doubt == "you named it when you looked over the whole"
        assert areas(result)[4:7] == [100] * 3
        assert result.warnings == ()
        masks = {
            (turn.slice_index, turn.index): turn.masks.unpacked() for turn in turns if turn.masks
        }
        replayed = replay_target(TracedTarget.of(result), masks)
        assert replayed.result.status is TargetStatus.SEGMENTED


def test_a_policy_that_is_shown_pictures_decides() -> None:
    class Looks(ThresholdPolicy):
        pictures = PictureSettings()

    assert EpisodeConfig(Looks({}), FillsBoxes()).limits.planner_decides
    assert not EpisodeConfig(ThresholdPolicy({}), FillsBoxes()).limits.planner_decides
