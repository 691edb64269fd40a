"""A trajectory is what serving would have recorded, had the model replied so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from agent.actions import Absent, AddBox, AddPoint, Malformed, Stop
from agent.case import Case
from agent.episode.loop import run_episode
from agent.errors import SegmenterFailed
from agent.fakes import ArraySlices, FakeSegmenter, ScriptedSegmenter, segmentation
from agent.language.chat import Answer
from agent.language.fakes import ScriptedChat
from agent.language.policy import LanguagePolicy
from agent.language.settings import LanguageSettings
from agent.limits import Limits
from agent.ports import Observation
from agent.protocol.dialects import Dialect
from agent.training.clicks import iou
from agent.training.damage import as_drawn
from agent.training.reader_settings import ReaderSettings, TrajectoryKind
from agent.training.slice_tasks import SliceTask, carried_to
from agent.training.trajectory import (
    NOT_REPAIRED,
    NOTHING_HELPED,
    TOO_LOW,
    Dropped,
    Exercise,
    Trajectory,
    TrajectoryMaker,
)
from agent.turns import Outcome
from agent.values import PromptKind, Role, Segmentation
from agent.volume.carry import propagate_slice_by_slice
from agent.volume.target_state import EpisodeConfig, TargetState
from tests.support.toy_cases import toy_cases

BOXES = frozenset({PromptKind.BOX})


class BoxSegmenter(FakeSegmenter):
    """The fake, which understands boxes only."""

    supported_prompts = BOXES


def maker_of(
    segmenter: FakeSegmenter | ScriptedSegmenter | None = None,
    dialect: Dialect = Dialect.TOOL_CALL,
    seed: int = 0,
    reader: ReaderSettings | None = None,
) -> TrajectoryMaker:
    return TrajectoryMaker(
        segmenter or FakeSegmenter(),
        LanguageSettings(dialect=dialect),
        reader or ReaderSettings(),
        Limits(),
        seed,
    )


def only(kind: TrajectoryKind) -> ReaderSettings:
    return ReaderSettings(mix={kind: 1.0})


def exercises(cases: list[Case], maker: TrajectoryMaker, numbers: int = 1) -> Iterator[Exercise]:
    for case in cases:
        slices = ArraySlices(case.volume.intensities, maker.segmenter)
        for truth in case.truths:
            for number in range(numbers):
                task = SliceTask(0, truth.voxels[0])
                yield Exercise(case, truth.target, slices, task, number)


def kept(maker: TrajectoryMaker, numbers: int = 1, count: int = 6) -> list[Trajectory]:
    made = [maker.make(exercise) for exercise in exercises(toy_cases(count), maker, numbers)]
    return [one for one in made if isinstance(one, Trajectory)]


class TestServing:
    """The very same episode comes of the same replies where it is served."""

    @pytest.mark.parametrize("dialect", list(Dialect))
    @pytest.mark.parametrize("segmenter", [FakeSegmenter(), BoxSegmenter()])
    def test_serving_records_the_same_turns_and_shows_the_same_conversation(
        self, dialect: Dialect, segmenter: FakeSegmenter
    ) -> None:
        maker = maker_of(segmenter, dialect)
        trajectories = kept(maker)
        assert {len(one.turns) for one in trajectories} >= {1, 2, 3}

        for one in trajectories:
            chat = ScriptedChat([Answer(turn.reply) for turn in one.turns])
            policy = LanguagePolicy(chat, maker.language)
            slices = ArraySlices(one.case.volume.intensities, segmenter)
            start = Observation(one.target, slices, 0, Role.KEY)
            served = list(run_episode(start, policy, segmenter, Limits()))

            untimed = [replace(turn, policy_s=0.0, segmenter_s=0.0, usage=None) for turn in served]
            assert untimed == list(one.turns)
            shown = chat.conversations[-1].messages
            assert one.conversation.messages[:-1] == shown
            assert one.conversation.messages[-1].text == one.turns[-1].reply

    def test_ious_are_those_of_the_mask_that_is_kept(self) -> None:
        for one in kept(maker_of(), numbers=3):
            best: np.ndarray | None = None
            truth = next(t for t in one.case.truths if t.target == one.target).voxels[0]
            for turn, figure in zip(one.turns, one.ious, strict=True):
                if turn.outcome is Outcome.KEPT and turn.masks is not None:
                    best = turn.masks.unpacked()[0]
                if turn.outcome is Outcome.ABSENT:
                    best = None
                expected = None if best is None else iou(best, truth)
                assert figure == (expected if expected is None else pytest.approx(expected))

    def test_the_truth_lies_on_the_picture(self) -> None:
        for one in kept(maker_of()):
            picture = one.conversation.pictures[0]
            assert one.shown_truth is not None
            assert one.shown_truth.shape == picture.pixels.shape[:2]
            if one.shown_truth.any():
                inside = picture.pixels[one.shown_truth].mean()
                assert inside > picture.pixels[~one.shown_truth].mean()


class TestWhatIsLearnt:
    def test_every_learnt_action_is_kept_and_brings_the_mask_nearer(self) -> None:
        trajectories = kept(maker_of(), numbers=3)
        assert len(trajectories) > 20

        for one in trajectories:
            before = 0.0
            for turn, learnt, after in zip(one.turns, one.learnt, one.ious, strict=True):
                if learnt and isinstance(turn.action, AddBox | AddPoint):
                    assert turn.outcome is Outcome.KEPT
                    assert after is not None
                    assert after - before >= 0.01
                before = after or 0.0
            assert one.final_iou is not None
            assert one.final_iou >= 0.7
            assert one.turns[-1].outcome in (Outcome.STOPPED, Outcome.ABSENT)
            assert one.learnt[-1]

    def test_a_self_correction_holds_one_wrong_action_and_repairs_it(self) -> None:
        made = kept(maker_of(BoxSegmenter(), reader=only(TrajectoryKind.SELF_CORRECTION)), 3, 8)
        assert len(made) > 10

        for one in made:
            assert one.kind is TrajectoryKind.SELF_CORRECTION
            assert one.learnt.count(False) == 1
            wrong = one.learnt.index(False)
            assert one.turns[wrong].outcome not in (Outcome.STOPPED, Outcome.ABSENT)
            assert wrong < len(one.turns) - 1
        outcomes = {one.turns[one.learnt.index(False)].outcome for one in made}
        assert {Outcome.KEPT, Outcome.REFUSED} <= outcomes

    def test_a_thought_owns_up_to_the_mistake(self) -> None:
        settings = only(TrajectoryKind.SELF_CORRECTION)
        one = kept(maker_of(BoxSegmenter(), Dialect.THINK_ACTION, reader=settings))[0]
        wrong = one.learnt.index(False)

        assert "<think>\nThe last action was wrong." in one.turns[wrong + 1].reply
        assert "The last action was wrong." not in one.turns[wrong].reply

    def test_tool_calls_come_without_a_thought(self) -> None:
        assert all(
            turn.reply.startswith("<tool_call>") for one in kept(maker_of()) for turn in one.turns
        )

    def test_no_reply_is_malformed(self) -> None:
        for dialect in Dialect:
            for one in kept(maker_of(dialect=dialect)):
                assert not any(isinstance(turn.action, Malformed) for turn in one.turns)


class TestAbsent:
    def test_a_structure_that_is_not_there_is_said_to_be_absent(self) -> None:
        maker = maker_of(reader=only(TrajectoryKind.BOX_TO_POINT))
        absent = [one for one in kept(maker) if one.kind is TrajectoryKind.ABSENT]

        assert len(absent) == 3  # every second of six cases lacks one
        for one in absent:
            assert isinstance(one.turns[0].action, Absent)
            assert (one.ious, one.final_iou, one.learnt) == ((None,), 1.0, (True,))

    def test_after_a_wrong_box_it_is_taken_back_only_where_serving_lets_it(self) -> None:
        # "absent" discards a mask of low score; one of high score stays, and all is dropped
        low = segmentation(np.ones((64, 64), dtype=np.bool_), 0.0)
        low = Segmentation(low.mask, np.zeros((0, 0), np.float32), 0.1)
        high = segmentation(np.ones((64, 64), dtype=np.bool_), 0.9)
        ends = []
        for answer in (low, high):
            for number in range(12):
                segmenter = ScriptedSegmenter([answer] * 9, BOXES)
                maker = maker_of(segmenter, reader=only(TrajectoryKind.SELF_CORRECTION))
                lacking = [e for e in exercises(toy_cases(2), maker) if not e.task.truth.any()]
                made = maker.make(replace(lacking[0], number=number))
                drawn = bool(segmenter.prompts)
                if drawn:
                    ends.append((answer is low, isinstance(made, Trajectory)))

        assert set(ends) == {(True, True), (False, False)}


class TestDropped:
    def test_a_mask_that_stays_poor_is_dropped_with_the_reason(self) -> None:
        poor = np.zeros((64, 64), dtype=np.bool_)
        poor[:3, :3] = True
        segmenter = ScriptedSegmenter([segmentation(poor, 0.5)] * 99, BOXES)
        maker = maker_of(segmenter, reader=only(TrajectoryKind.BOX_TO_POINT))

        made = maker.make(next(exercises(toy_cases(1), maker)))

        assert isinstance(made, Dropped)
        assert made.reason == NOTHING_HELPED
        assert len(segmenter.prompts) == 5  # the retries of one turn, and no more

    def test_the_filter_is_the_settings(self) -> None:
        strict = ReaderSettings(least_final_iou=1.0, mix={TrajectoryKind.BOX_TO_POINT: 1.0})
        maker = maker_of(reader=strict)

        made = [maker.make(exercise) for exercise in exercises(toy_cases(4), maker)]

        assert TOO_LOW in {one.reason for one in made if isinstance(one, Dropped)}

    def test_what_was_wrong_and_is_not_repaired_teaches_no_stop(self) -> None:
        wrong = np.zeros((64, 64), dtype=np.bool_)
        wrong[:4, :4] = True
        segmenter = ScriptedSegmenter([segmentation(wrong, 0.4)] * 400, BOXES)
        lenient = ReaderSettings(least_final_iou=0, mix={TrajectoryKind.SELF_CORRECTION: 1.0})
        maker = maker_of(segmenter, reader=lenient)

        made = [maker.make(one) for one in exercises(toy_cases(3), maker) if one.task.truth.any()]

        assert NOT_REPAIRED in {one.reason for one in made if isinstance(one, Dropped)}
        assert not [one for one in made if isinstance(one, Trajectory)]

    def test_a_segmenter_that_fails_is_not_hidden(self) -> None:
        segmenter = ScriptedSegmenter(["out of memory"], BOXES)
        maker = maker_of(segmenter, reader=only(TrajectoryKind.BOX_TO_POINT))

        with pytest.raises(SegmenterFailed, match="out of memory"):
            maker.make(next(exercises(toy_cases(1), maker)))


class TestDeterminism:
    def test_the_same_exercise_gives_the_same_trajectory_alone_or_among_others(self) -> None:
        maker = maker_of()
        together = {one.name: one for one in kept(maker, numbers=2)}

        last = list(exercises(toy_cases(6), maker, 2))[-1]
        alone = maker_of().make(last)

        assert isinstance(alone, Trajectory)
        assert alone.turns == together[alone.name].turns
        assert alone.conversation == together[alone.name].conversation

    def test_another_number_or_seed_is_another_trajectory(self) -> None:
        replies = {
            tuple(turn.reply for turn in one.turns)
            for seed in (0, 1)
            for one in kept(maker_of(seed=seed), numbers=2, count=1)
        }

        assert len(replies) > 6


class TestReview:
    def test_a_wrong_mask_is_drawn_anew(self) -> None:
        maker = maker_of()
        exercise = next(exercises(toy_cases(1), maker))
        opening = np.zeros_like(exercise.task.truth)
        opening[:20, :20] = True
        task = replace(
            exercise.task, role=Role.REVIEW, opening=opening, carried=exercise.task.truth
        )

        made = maker.make(replace(exercise, task=task))

        assert isinstance(made, Trajectory)
        assert made.kind is TrajectoryKind.REVIEW
        assert made.turns[0].role is Role.REVIEW
        assert isinstance(made.turns[-1].action, Stop)
        assert made.name.endswith(":review-0")
        assert "needs another look" in made.conversation.messages[1].text


def carried(maker: TrajectoryMaker, count: int = 8) -> Iterator[Trajectory]:
    """Slice 5 of toy volumes, reached from slice 4 whose mask is as a program draws it."""
    for case in toy_cases(count, depth=9):
        slices = ArraySlices(case.volume.intensities, maker.segmenter)
        for number, truth in enumerate(case.truths):
            if truth.voxels[4].any():
                mask = as_drawn(truth.voxels[4], np.random.default_rng(number))
                task = carried_to(truth.voxels, 5, 1, mask)
                made = maker.make(Exercise(case, truth.target, slices, task, number))
                if isinstance(made, Trajectory):
                    yield made


class TestCarried:
    """A slice beside one that is drawn: what serving asks on every slice where it may."""

    @pytest.mark.parametrize("dialect", list(Dialect))
    @pytest.mark.parametrize("segmenter", [FakeSegmenter(), BoxSegmenter()])
    def test_serving_asks_and_records_the_same_on_its_way_through_a_volume(
        self, dialect: Dialect, segmenter: FakeSegmenter
    ) -> None:
        maker = maker_of(segmenter, dialect)
        trajectories = list(carried(maker))
        assert len(trajectories) > 12

        for number, one in enumerate(trajectories):
            chat = ScriptedChat([Answer(turn.reply) for turn in one.turns])
            config = EpisodeConfig(LanguagePolicy(chat, maker.language), segmenter)
            slices = ArraySlices(one.case.volume.intensities, segmenter)
            state = TargetState(one.target, slices, config)
            truth = next(t for t in one.case.truths if t.target == one.target)
            index = one.case.truths.index(truth)
            drawn = as_drawn(truth.voxels[4], np.random.default_rng(index))
            state.put(3, truth.voxels[3], 1.0)
            state.put(4, drawn, 1.0)

            way = propagate_slice_by_slice(state, 4, 1)
            served = [next(way) for _ in one.turns]

            untimed = [replace(turn, policy_s=0.0, segmenter_s=0.0, usage=None) for turn in served]
            assert untimed == list(one.turns), number
            assert one.conversation.messages[:-1] == chat.conversations[-1].messages

    def test_a_box_is_enough_or_corrected_in_the_last_turn(self) -> None:
        ends = {type(one.turns[-1].action) for one in carried(maker_of(BoxSegmenter()))}
        turns = [one.turns for one in carried(maker_of(BoxSegmenter()))]

        assert {len(each) for each in turns} == {2}
        assert ends >= {Stop}
        assert all(turn.role is Role.CARRY for each in turns for turn in each)
        assert all(
            one.final_iou is not None and one.final_iou >= ReaderSettings().least_final_iou
            for one in carried(maker_of(BoxSegmenter()))
        )

    def test_beyond_the_end_it_is_said_to_be_absent_at_once(self) -> None:
        maker, case = maker_of(), toy_cases(1, depth=9)[0]
        voxels = case.truths[0].voxels.copy()
        voxels[5:] = False
        slices = ArraySlices(case.volume.intensities, maker.segmenter)
        task = carried_to(voxels, 5, 1, voxels[4])

        made = maker.make(Exercise(case, case.truths[0].target, slices, task))

        assert isinstance(made, Trajectory)
        assert [turn.outcome for turn in made.turns] == [Outcome.ABSENT]
        assert made.kind is TrajectoryKind.CARRY
        assert made.name.endswith(":slice-5:carry-0")
        assert "The yellow outline is the target" in made.conversation.messages[1].text

    def test_a_mask_that_drifts_as_serving_sees_it_is_not_learnt(self) -> None:
        maker, case = maker_of(), toy_cases(1, depth=9)[0]
        voxels = case.truths[0].voxels
        aside = np.roll(voxels[4], 30, axis=1)
        slices = ArraySlices(case.volume.intensities, maker.segmenter)
        task = replace(carried_to(voxels, 5, 1, aside), behind=(aside,))

        made = maker.make(Exercise(case, case.truths[0].target, slices, task))

        assert isinstance(made, Dropped)


@pytest.mark.parametrize(
    ("settings", "limits", "sentence"),
    [
        (LanguageSettings(native_tools=True), Limits(), "text protocol"),
        (LanguageSettings(history=False), Limits(), "all their turns"),
        (LanguageSettings(), Limits(max_turns=1), "two turns"),
    ],
)
def test_settings_that_give_no_such_conversation_are_refused(
    settings: LanguageSettings, limits: Limits, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        TrajectoryMaker(FakeSegmenter(), settings, ReaderSettings(), limits)
