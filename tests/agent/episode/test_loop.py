"""One slice: every guard of the loop, each with a script that walks into it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, Stop
from agent.episode.loop import run_episode
from agent.fakes import ArraySlices, ScriptedPolicy, ScriptedSegmenter, segmentation
from agent.limits import Limits
from agent.ports import Encoding, Localisation, Observation, Reply
from agent.trace import Trace, TracedTarget, read_trace, turn_record, write_trace
from agent.turns import Episode, Outcome, Turn
from agent.values import (
    Box,
    Point,
    PromptKind,
    Prompts,
    Role,
    Segmentation,
    Target,
    TargetStatus,
)
from tests.support.fixture_types import Clock, DrawSquare, RunToEnd

BOX = AddBox(Box(6, 6, 20, 20))
WIDER = AddBox(Box(4, 4, 24, 24))
WIDEST = AddBox(Box(2, 2, 28, 28))
CLICK = AddPoint(Point(10, 10))


@pytest.fixture
def play(run: RunToEnd, clock: Clock) -> Any:
    """Run one episode of a script; gives the turns, the episode, the segmenter and the policy."""

    def episode(
        replies: Iterable[Action | Reply],
        answers: Iterable[Segmentation | str] = (),
        *,
        limits: Limits | None = None,
        supported_prompts: frozenset[PromptKind] = frozenset(PromptKind),
        role: Role = Role.KEY,
        **more: Any,
    ) -> tuple[list[Turn], Episode, ScriptedSegmenter, ScriptedPolicy]:
        segmenter = ScriptedSegmenter(answers, supported_prompts)
        slices = ArraySlices(np.zeros((3, 32, 32), dtype=np.float32), segmenter)
        policy = ScriptedPolicy(Localisation((1.0,) * 3, (1,)), {role: replies})
        start_with = {name: more.pop(name) for name in ("latest", "best") if name in more}
        start = Observation(Target("liver"), slices, 1, role, **start_with)
        turns, ended = run(
            run_episode(start, policy, segmenter, limits or Limits(), clock=clock, **more)
        )
        return turns, ended, segmenter, policy

    return episode


def outcomes(turns: Iterable[Turn]) -> list[str]:
    return [str(turn.outcome) for turn in turns]


class TestTheBestMaskIsKept:
    def test_a_box_and_a_stop(self, play: Any, square: DrawSquare) -> None:
        turns, episode, _, _ = play([BOX, Stop()], [segmentation(square(), 0.8)])

        assert outcomes(turns) == ["kept", "stopped"]
        assert np.array_equal(episode.best.mask, square())
        assert episode.score == 0.8
        assert not episode.absent
        assert episode.turns == tuple(turns)

    def test_the_last_one_does_not_win(self, play: Any, square: DrawSquare) -> None:
        answers = [segmentation(square(), 0.8), segmentation(square(side=20), 0.3)]

        turns, episode, _, _ = play([BOX, WIDER], answers)

        assert outcomes(turns[:2]) == ["kept", "rolled_back"]
        assert np.array_equal(episode.best.mask, square())
        assert turns[1].score == 0.3
        assert turns[1].area_px == 400
        assert "0.30, the best is 0.80" in turns[1].observation

    def test_an_equal_score_does_not_replace_the_best(self, play: Any, square: DrawSquare) -> None:
        answers = [segmentation(square(), 0.8), segmentation(square(side=20), 0.8)]

        _, episode, _, _ = play([BOX, WIDER], answers)

        assert np.array_equal(episode.best.mask, square())

    def test_a_prompt_is_rolled_back_with_its_mask(self, play: Any, square: DrawSquare) -> None:
        answers = [
            segmentation(square(), 0.8),
            segmentation(square(side=20), 0.3),
            segmentation(square(side=11), 0.9),
        ]

        _, _, segmenter, _ = play([BOX, AddPoint(Point(29, 29)), CLICK], answers)

        assert segmenter.prompts[2].box == BOX.box
        assert segmenter.prompts[2].points == (CLICK.point,)

    def test_a_score_that_is_no_number_counts_as_nothing(
        self, play: Any, square: DrawSquare
    ) -> None:
        nothing = replace(segmentation(square(), float("nan")), candidate_ious=(float("nan"), 0.2))
        answers = [nothing, segmentation(square(side=11), 0.1)]

        turns, episode, _, _ = play([BOX, WIDER], answers)

        assert turns[0].score == 0.0
        assert turns[0].predicted_iou == 0.0
        assert turns[0].candidate_ious == (0.0, 0.2)
        assert episode.score == 0.1

    def test_a_mask_that_was_there_before_must_be_beaten(
        self, play: Any, square: DrawSquare
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
        self, play: Any, square: DrawSquare
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

    def test_the_logits_are_the_best_ones_not_the_last(self, play: Any, square: DrawSquare) -> None:
        first = segmentation(square(), 0.8)

        _, _, segmenter, _ = play(
            [BOX, WIDER, WIDEST],
            [first, segmentation(square(side=12), 0.1), segmentation(square(side=13), 0.2)],
        )

        assert segmenter.prompts[2].previous_logits is first.logits

    def test_a_segmenter_without_mask_prompts_gets_none(
        self, play: Any, square: DrawSquare
    ) -> None:
        _, _, segmenter, _ = play(
            [BOX, WIDER],
            [segmentation(square(), 0.5), segmentation(square(side=11), 0.6)],
            supported_prompts=frozenset({PromptKind.BOX}),
        )

        assert segmenter.prompts[1].previous_logits is None

    def test_an_opposite_click_nearby_takes_back_the_earlier_one(
        self, play: Any, square: DrawSquare
    ) -> None:
        back = AddPoint(Point(12, 11, positive=False))

        _, _, segmenter, _ = play(
            [CLICK, back], [segmentation(square(), 0.5), segmentation(square(side=8), 0.6)]
        )

        assert segmenter.prompts[1].points == (back.point,)


class TestNothingIsGained:
    def test_the_same_action_is_not_run_twice(self, play: Any, square: DrawSquare) -> None:
        turns, _, segmenter, _ = play([BOX, BOX, Stop()], [segmentation(square())])

        assert outcomes(turns) == ["kept", "duplicate", "stopped"]
        assert len(segmenter.prompts) == 1
        assert "tried before" in turns[1].observation

    def test_the_same_to_half_a_pixel_is_the_same(self, play: Any, square: DrawSquare) -> None:
        nearly = AddBox(Box(6.1, 5.9, 20.1, 19.9))

        turns, _, _, _ = play([BOX, nearly, Stop()], [segmentation(square())])

        assert turns[1].outcome is Outcome.DUPLICATE

    def test_a_rolled_back_action_is_a_duplicate_too(self, play: Any, square: DrawSquare) -> None:
        answers = [segmentation(square(), 0.8), segmentation(square(side=20), 0.3)]

        turns, _, _, _ = play([BOX, WIDER, WIDER, Stop()], answers)

        assert outcomes(turns) == ["kept", "rolled_back", "duplicate", "stopped"]

    def test_a_mask_that_does_not_change_is_an_observation(
        self, play: Any, square: DrawSquare
    ) -> None:
        same = segmentation(square(), 0.8)

        turns, _, _, _ = play([BOX, WIDER, Stop()], [same, same])

        assert outcomes(turns) == ["kept", "unchanged", "stopped"]
        assert "did not change" in turns[1].observation

    def test_a_mask_that_was_rolled_back_and_comes_again_is_unchanged_too(
        self, play: Any, square: DrawSquare
    ) -> None:
        poor = segmentation(square(side=20), 0.3)

        turns, _, _, _ = play(
            [BOX, WIDER, WIDEST, Stop()], [segmentation(square(), 0.8), poor, poor]
        )

        assert outcomes(turns) == ["kept", "rolled_back", "unchanged", "stopped"]

    def test_two_in_a_row_end_it(self, play: Any, square: DrawSquare) -> None:
        same = segmentation(square(), 0.8)

        turns, episode, _, _ = play([BOX, WIDER, BOX, WIDEST], [same, same])

        assert outcomes(turns) == ["kept", "unchanged", "duplicate"]
        assert np.array_equal(episode.best.mask, square())

    def test_two_that_are_not_in_a_row_do_not(self, play: Any, square: DrawSquare) -> None:
        same, better = segmentation(square(), 0.8), segmentation(square(side=11), 0.9)

        turns, _, _, _ = play([BOX, WIDER, WIDEST, BOX, Stop()], [same, same, better])

        assert outcomes(turns) == ["kept", "unchanged", "kept", "duplicate", "stopped"]


class TestRefused:
    def test_a_prompt_the_segmenter_does_not_understand(
        self, play: Any, square: DrawSquare
    ) -> None:
        turns, _, segmenter, _ = play(
            [CLICK, BOX, Stop()],
            [segmentation(square())],
            supported_prompts=frozenset({PromptKind.BOX}),
        )

        assert outcomes(turns) == ["refused", "kept", "stopped"]
        assert turns[0].observation == "this segmenter does not understand a point; use box"
        assert len(segmenter.prompts) == 1

    def test_a_malformed_reply_is_told_what_was_wrong(self, play: Any, square: DrawSquare) -> None:
        turns, _, _, policy = play(
            [Reply(Malformed("x1 must be larger than x0"), "gibberish"), BOX],
            [segmentation(square())],
        )

        assert outcomes(turns[:2]) == ["refused", "kept"]
        assert turns[0].reply == "gibberish"
        assert policy.observations[1].turns[0].observation == "x1 must be larger than x0"

    def test_three_in_a_row_end_it(self, play: Any) -> None:
        turns, episode, _, _ = play([Malformed("?")] * 5)

        assert outcomes(turns) == ["refused"] * 3
        assert episode.best is None
        assert not episode.absent

    @pytest.mark.parametrize(
        "action",
        [
            AddBox(Box(-1, 0, 10, 10)),  # beyond the first column
            AddBox(Box(0, 0, 10, 32)),  # beyond the last row
            AddPoint(Point(31.6, 3)),  # beyond the last pixel's edge
        ],
    )
    def test_what_leaves_the_image(self, play: Any, action: Action) -> None:
        turns, _, segmenter, _ = play([action])

        assert turns[0].outcome is Outcome.REFUSED
        assert "x runs from 0 to 31" in turns[0].observation
        assert segmenter.prompts == []

    def test_the_outermost_pixels_edges_are_still_inside(
        self, play: Any, square: DrawSquare
    ) -> None:
        turns, _, _, _ = play([AddBox(Box(-0.5, -0.5, 31.5, 31.5))], [segmentation(square())])

        assert turns[0].outcome is Outcome.KEPT

    @pytest.mark.parametrize("x", [float("nan"), float("inf")])
    def test_a_click_at_no_number_never_reaches_the_record(self, play: Any, x: float) -> None:
        turns, _, _, _ = play([AddPoint(Point(x, 3))])

        assert isinstance(turns[0].action, Malformed)

    def test_a_runaway_reply_is_cut_in_the_record(self, play: Any) -> None:
        turns, _, _, _ = play([Reply(Malformed("too long"), "z" * 100_000)])

        assert len(turns[0].reply) == 8_000


class TestTheSegmenterFails:
    def test_a_failure_is_an_observation_and_the_best_is_kept(
        self, play: Any, square: DrawSquare
    ) -> None:
        turns, episode, _, _ = play(
            [BOX, WIDER, Stop()], [segmentation(square(), 0.8), "no memory"]
        )

        assert outcomes(turns) == ["kept", "no_mask", "stopped"]
        assert turns[1].observation == "the segmenter failed: no memory"
        assert np.array_equal(episode.best.mask, square())

    def test_a_failed_prompt_is_forgotten(self, play: Any, square: DrawSquare) -> None:
        _, _, segmenter, _ = play(
            [BOX, CLICK, WIDER], [segmentation(square()), "no", segmentation(square(side=11))]
        )

        assert segmenter.prompts[2].points == ()

    def test_an_empty_mask_is_an_observation(self, play: Any, square: DrawSquare) -> None:
        empty = segmentation(np.zeros((32, 32), dtype=np.bool_))

        turns, episode, _, _ = play([BOX, WIDER, Stop()], [empty, segmentation(square())])

        assert outcomes(turns) == ["no_mask", "kept", "stopped"]
        assert "nothing was drawn" in turns[0].observation
        assert turns[0].area_px is None
        assert np.array_equal(episode.best.mask, square())

    @pytest.mark.parametrize(
        "mask", [np.ones((32, 31), dtype=np.bool_), np.ones((32, 32), dtype=np.float32)]
    )
    def test_what_is_no_mask_of_the_slice_is_a_failure(self, play: Any, mask: np.ndarray) -> None:
        answer = Segmentation(mask, np.zeros((4, 4), dtype=np.float32), 1.0)

        turns, _, _, _ = play([BOX], [answer])

        assert turns[0].outcome is Outcome.NO_MASK
        assert "its mask is" in turns[0].observation

    def test_three_in_a_row_end_it(self, play: Any) -> None:
        boxes = [AddBox(Box(n, n, 20, 20)) for n in range(5)]

        turns, episode, _, _ = play(boxes, ["no"] * 5)

        assert outcomes(turns) == ["no_mask"] * 3
        assert episode.best is None

    def test_any_other_error_passes_through(self, play: Any) -> None:
        class Broken(ScriptedSegmenter):
            def segment(self, encoding: Encoding, prompts: Prompts) -> Never:
                raise MemoryError("gone")

        segmenter = Broken([])
        slices = ArraySlices(np.zeros((3, 32, 32), dtype=np.float32), segmenter)
        policy = ScriptedPolicy(Localisation((1.0,) * 3, (1,)), {Role.KEY: [BOX]})
        start = Observation(Target("liver"), slices, 1, Role.KEY)

        with pytest.raises(MemoryError):
            next(run_episode(start, policy, segmenter, Limits()))


class TestTheEnd:
    def test_stop_without_a_mask_is_questioned_once(self, play: Any) -> None:
        turns, episode, _, _ = play([Stop(), Stop(), BOX])

        assert outcomes(turns) == ["refused", "stopped"]
        assert "no mask yet" in turns[0].observation
        assert episode.best is None
        assert not episode.absent

    def test_absent_ends_at_once(self, play: Any) -> None:
        turns, episode, _, _ = play([Absent("only lung here"), BOX])

        assert outcomes(turns) == ["absent"]
        assert episode.absent
        assert episode.best is None

    def test_absent_gives_up_a_poor_mask(self, play: Any, square: DrawSquare) -> None:
        turns, episode, _, _ = play([BOX, Absent()], [segmentation(square(), 0.49)])

        assert outcomes(turns) == ["kept", "absent"]
        assert episode.best is None
        assert episode.score == 0.0
        assert episode.absent

    def test_absent_does_not_give_up_a_good_mask(self, play: Any, square: DrawSquare) -> None:
        turns, episode, _, _ = play([BOX, Absent(), Stop()], [segmentation(square(), 0.5)])

        assert outcomes(turns) == ["kept", "refused", "stopped"]
        assert "score 0.50 has been kept" in turns[1].observation
        assert np.array_equal(episode.best.mask, square())
        assert not episode.absent

    @pytest.mark.parametrize(
        ("role", "turns_allowed"), [(Role.KEY, 4), (Role.CARRY, 2), (Role.REVIEW, 3)]
    )
    def test_the_budget_is_the_roles(
        self, play: Any, square: DrawSquare, role: Role, turns_allowed: int
    ) -> None:
        boxes = [AddBox(Box(n, n, 20, 20)) for n in range(6)]
        answers = [segmentation(square(side=10 + n), n / 10) for n in range(6)]
        limits = Limits(max_turns=4, carry_turns=2, review_turns=3)

        turns, _, _, policy = play(boxes, answers, limits=limits, role=role)

        assert outcomes(turns) == ["kept"] * turns_allowed
        assert [seen.turns_left for seen in policy.observations] == list(
            range(turns_allowed, 0, -1)
        )


class TestWhatThePolicyIsShown:
    def test_the_turns_the_latest_and_the_best(self, play: Any, square: DrawSquare) -> None:
        good, poor = segmentation(square(), 0.8), segmentation(square(side=20), 0.3)

        turns, _, _, policy = play([BOX, WIDER, Stop()], [good, poor])

        first, second, third = policy.observations
        assert first.turns == ()
        assert first.latest is first.best is None
        assert second.turns == (turns[0],)
        assert np.array_equal(second.latest.mask, good.mask)
        assert third.turns == tuple(turns[:2])
        assert np.array_equal(third.latest.mask, poor.mask)
        assert np.array_equal(third.best.mask, good.mask)

    def test_a_mask_is_tidied_before_it_is_judged(self, play: Any, square: DrawSquare) -> None:
        raw = square()
        raw[12, 12] = False  # a hole
        raw[30, 30] = True  # a speck

        turns, episode, _, _ = play([BOX], [segmentation(raw)])

        assert np.array_equal(episode.best.mask, square())
        assert turns[0].area_px == 100

    def test_an_objection_is_an_observation_and_nothing_is_kept(
        self, play: Any, square: DrawSquare
    ) -> None:
        def too_large(drawn: Segmentation) -> str | None:
            return "it is too large" if drawn.mask.sum() > 200 else None

        answers = [segmentation(square(side=20), 1.0), segmentation(square(), 0.4)]

        turns, episode, _, _ = play([BOX, WIDER, Stop()], answers, objection=too_large)

        assert outcomes(turns) == ["rolled_back", "kept", "stopped"]
        assert turns[0].observation == "it is too large; the mask was not kept"
        assert turns[0].score is None
        assert np.array_equal(episode.best.mask, square())

    def test_turns_are_counted_on_from_the_first_index(self, play: Any, square: DrawSquare) -> None:
        turns, _, _, _ = play([BOX, Stop()], [segmentation(square())], first_index=7)

        assert [turn.index for turn in turns] == [7, 8]


class TestTimes:
    def test_policy_and_segmenter_are_timed_apart(self, play: Any, square: DrawSquare) -> None:
        # every look at the clock is half a second after the last: one span between two looks;
        # the appraisal's span is counted as the policy's
        turns, _, _, _ = play([BOX, Stop()], [segmentation(square())])

        assert (turns[0].policy_s, turns[0].segmenter_s) == (1.0, 0.5)
        assert (turns[1].policy_s, turns[1].segmenter_s) == (0.5, 0.0)

    def test_a_failure_takes_time_too(self, play: Any) -> None:
        turns, _, _, _ = play([BOX], ["no memory"])

        assert turns[0].segmenter_s == 0.5


def test_the_golden_episode_of_five_turns(
    play: Any, square: DrawSquare, tmp_path: Path, repository: Path
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
