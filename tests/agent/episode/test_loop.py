"""One slice: every guard of the loop, each with a script that walks into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.actions import AddPoint, Malformed, Stop
from agent.fakes import segmentation
from agent.limits import Limits
from agent.ports import Reply
from agent.trace import Trace, TracedTarget, read_trace, turn_record, write_trace
from agent.values import (
    Point,
    PromptKind,
    Segmentation,
    Target,
    TargetStatus,
)
from tests.support.agent.episode_moves import BOX, CLICK, WIDER, WIDEST, outcomes
from tests.support.agent.present import mask_of
from tests.support.fixture_types import DrawSquare, PlayEpisode


class TestTheBestMaskIsKept:
    def test_a_box_and_a_stop(self, play: PlayEpisode, square: DrawSquare) -> None:
        turns, episode, _, _ = play([BOX, Stop()], [segmentation(square(), 0.8)])

        assert outcomes(turns) == ["kept", "stopped"]
        assert np.array_equal(mask_of(episode.best), square())
        assert episode.score == 0.8
        assert not episode.absent
        assert episode.turns == tuple(turns)

    def test_the_last_one_does_not_win(self, play: PlayEpisode, square: DrawSquare) -> None:
        answers = [segmentation(square(), 0.8), segmentation(square(side=20), 0.3)]

        turns, episode, _, _ = play([BOX, WIDER], answers)

        assert outcomes(turns[:2]) == ["kept", "rolled_back"]
        assert np.array_equal(mask_of(episode.best), square())
        assert turns[1].score == 0.3
        assert turns[1].area_px == 400
        assert "0.30, the best is 0.80" in turns[1].observation

    def test_an_equal_score_does_not_replace_the_best(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        answers = [segmentation(square(), 0.8), segmentation(square(side=20), 0.8)]

        _, episode, _, _ = play([BOX, WIDER], answers)

        assert np.array_equal(mask_of(episode.best), square())

    def test_a_prompt_is_rolled_back_with_its_mask(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        answers = [
            segmentation(square(), 0.8),
            segmentation(square(side=20), 0.3),
            segmentation(square(side=11), 0.9),
        ]

        _, _, segmenter, _ = play([BOX, AddPoint(Point(29, 29)), CLICK], answers)

        assert segmenter.prompts[2].box == BOX.box
        assert segmenter.prompts[2].points == (CLICK.point,)

    def test_a_score_that_is_no_number_counts_as_nothing(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        nothing = replace(segmentation(square(), float("nan")), candidate_ious=(float("nan"), 0.2))
        answers = [nothing, segmentation(square(side=11), 0.1)]

        turns, episode, _, _ = play([BOX, WIDER], answers)

        assert turns[0].score == 0.0
        assert turns[0].predicted_iou == 0.0
        assert turns[0].candidate_ious == (0.0, 0.2)
        assert episode.score == 0.1

    def test_a_mask_that_was_there_before_must_be_beaten(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        before = segmentation(square(), 0.9)

        turns, episode, _, _ = play(
            [BOX, Stop()], [segmentation(square(side=12), 0.5)], best=before
        )

        assert outcomes(turns) == ["rolled_back", "stopped"]
        assert episode.best is before
        assert episode.score == 0.9


class TestPromptsAddUp:
    def test_all_clicks_the_box_and_the_best_logits_go_in_every_call(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        first, second = segmentation(square(), 0.5), segmentation(square(side=11), 0.6)
        other = AddPoint(Point(20, 20, positive=False))

        _, _, segmenter, _ = play(
            [BOX, CLICK, other], [first, second, segmentation(square(side=12), 0.7)]
        )

        asked = segmenter.prompts
        assert [prompts.box for prompts in asked] == [BOX.box] * 3
        assert [prompts.points for prompts in asked] == [
            (),
            (CLICK.point,),
            (CLICK.point, other.point),
        ]
        assert asked[0].previous_logits is None
        assert asked[1].previous_logits is first.logits
        assert asked[2].previous_logits is second.logits

    def test_the_logits_are_the_best_ones_not_the_last(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        first = segmentation(square(), 0.8)

        _, _, segmenter, _ = play(
            [BOX, WIDER, WIDEST],
            [first, segmentation(square(side=12), 0.1), segmentation(square(side=13), 0.2)],
        )

        assert segmenter.prompts[2].previous_logits is first.logits

    def test_a_segmenter_without_mask_prompts_gets_none(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        _, _, segmenter, _ = play(
            [BOX, WIDER],
            [segmentation(square(), 0.5), segmentation(square(side=11), 0.6)],
            supported_prompts=frozenset({PromptKind.BOX}),
        )

        assert segmenter.prompts[1].previous_logits is None

    def test_an_opposite_click_nearby_takes_back_the_earlier_one(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        back = AddPoint(Point(12, 11, positive=False))

        _, _, segmenter, _ = play(
            [CLICK, back], [segmentation(square(), 0.5), segmentation(square(side=8), 0.6)]
        )

        assert segmenter.prompts[1].points == (back.point,)


class TestWhatThePolicyIsShown:
    def test_the_turns_the_latest_and_the_best(self, play: PlayEpisode, square: DrawSquare) -> None:
        good, poor = segmentation(square(), 0.8), segmentation(square(side=20), 0.3)

        turns, _, _, policy = play([BOX, WIDER, Stop()], [good, poor])

        first, second, third = policy.observations
        assert first.turns == ()
        assert first.latest is first.best is None
        assert second.turns == (turns[0],)
        assert np.array_equal(mask_of(second.latest), good.mask)
        assert third.turns == tuple(turns[:2])
        assert np.array_equal(mask_of(third.latest), poor.mask)
        assert np.array_equal(mask_of(third.best), good.mask)

    def test_a_mask_is_tidied_before_it_is_judged(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        raw = square()
        raw[12, 12] = False  # a hole
        raw[30, 30] = True  # a speck

        turns, episode, _, _ = play([BOX], [segmentation(raw)])

        assert np.array_equal(mask_of(episode.best), square())
        assert turns[0].area_px == 100

    def test_an_objection_is_an_observation_and_nothing_is_kept(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        def too_large(drawn: Segmentation) -> str | None:
            return "it is too large" if drawn.mask.sum() > 200 else None

        answers = [segmentation(square(side=20), 1.0), segmentation(square(), 0.4)]

        turns, episode, _, _ = play([BOX, WIDER, Stop()], answers, objection=too_large)

        assert outcomes(turns) == ["rolled_back", "kept", "stopped"]
        assert turns[0].observation == "it is too large; the mask was not kept"
        assert turns[0].score is None
        assert np.array_equal(mask_of(episode.best), square())

    def test_turns_are_counted_on_from_the_first_index(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        turns, _, _, _ = play([BOX, Stop()], [segmentation(square())], first_index=7)

        assert [turn.index for turn in turns] == [7, 8]


class TestTimes:
    def test_policy_and_segmenter_are_timed_apart(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        # every look at the clock is half a second after the last: one span between two looks;
        # the appraisal's span is counted as the policy's
        turns, _, _, _ = play([BOX, Stop()], [segmentation(square())])

        assert (turns[0].policy_s, turns[0].segmenter_s) == (1.0, 0.5)
        assert (turns[1].policy_s, turns[1].segmenter_s) == (0.5, 0.0)

    def test_a_failure_takes_time_too(self, play: PlayEpisode) -> None:
        turns, _, _, _ = play([BOX], ["no memory"])

        assert turns[0].segmenter_s == 0.5


def test_the_golden_episode_of_five_turns(
    play: PlayEpisode, square: DrawSquare, tmp_path: Path, repository: Path
) -> None:
    """A box, a better one, a worse click, garbage, stop: the trace as version 2 writes it, byte for
    byte.
    """
    # Arrange
    replies = [
        Reply(BOX, "a box round the bright organ"),
        Reply(WIDER, "the dome is missing"),
        Reply(AddPoint(Point(25.5, 3.25, positive=False)), "not the spleen"),
        Reply(Malformed("the reply holds no tool call"), "I am done."),
        Reply(Stop(), "now it is right"),
    ]
    answers = [
        segmentation(square(), 0.5),
        segmentation(square(side=14), 0.75),
        segmentation(square(side=6), 0.25),
    ]

    # Act
    turns, episode, _, _ = play(replies, answers)
    traced = TracedTarget(
        Target("liver", "liver"), TargetStatus.SEGMENTED, tuple(turns), "", episode.score, ("cut",)
    )
    write_trace(tmp_path / "trace.json", Trace((traced,)))

    # Assert
    golden = repository / "tests" / "golden" / "trace-v2-five-turns.json"
    assert (tmp_path / "trace.json").read_text() == golden.read_text()
    assert [turn_record(turn) for turn in read_trace(golden).targets[0].turns] == [
        turn_record(turn) for turn in turns
    ]
    assert episode.score == 0.75


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_turns must be at least 1"):
        Limits(max_turns=0)
    with pytest.raises(ValueError, match="undo_px must be at least 0"):
        replace(Limits(), undo_px=-1.0)
    with pytest.raises(ValueError, match="radius_jump"):
        Limits(radius_jump=float("nan"))
