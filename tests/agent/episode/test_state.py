"""What an episode makes of each reply and each answer: kept, refused, repeated, failed, ended."""

from __future__ import annotations

from typing import Never

import numpy as np
import pytest

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, Stop
from agent.episode.loop import run_episode
from agent.fakes import ArraySlices, ScriptedPolicy, ScriptedSegmenter, segmentation
from agent.limits import Limits
from agent.ports import Encoding, Localisation, Observation, Reply
from agent.turns import Outcome
from agent.values import (
    Box,
    Point,
    PromptKind,
    Prompts,
    Role,
    Segmentation,
    Target,
)
from tests.support.agent.episode_moves import BOX, CLICK, WIDER, WIDEST, outcomes
from tests.support.agent.present import mask_of
from tests.support.fixture_types import DrawSquare, PlayEpisode


class TestNothingIsGained:
    def test_the_same_action_is_not_run_twice(self, play: PlayEpisode, square: DrawSquare) -> None:
        turns, _, segmenter, _ = play([BOX, BOX, Stop()], [segmentation(square())])

        assert outcomes(turns) == ["kept", "duplicate", "stopped"]
        assert len(segmenter.prompts) == 1
        assert "tried before" in turns[1].observation

    def test_the_same_to_half_a_pixel_is_the_same(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        nearly = AddBox(Box(6.1, 5.9, 20.1, 19.9))

        turns, _, _, _ = play([BOX, nearly, Stop()], [segmentation(square())])

        assert turns[1].outcome is Outcome.DUPLICATE

    def test_a_rolled_back_action_is_a_duplicate_too(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        answers = [segmentation(square(), 0.8), segmentation(square(side=20), 0.3)]

        turns, _, _, _ = play([BOX, WIDER, WIDER, Stop()], answers)

        assert outcomes(turns) == ["kept", "rolled_back", "duplicate", "stopped"]

    def test_a_mask_that_does_not_change_is_an_observation(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        same = segmentation(square(), 0.8)

        turns, _, _, _ = play([BOX, WIDER, Stop()], [same, same])

        assert outcomes(turns) == ["kept", "unchanged", "stopped"]
        assert "did not change" in turns[1].observation

    def test_a_mask_that_was_rolled_back_and_comes_again_is_unchanged_too(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        poor = segmentation(square(side=20), 0.3)

        turns, _, _, _ = play(
            [BOX, WIDER, WIDEST, Stop()], [segmentation(square(), 0.8), poor, poor]
        )

        assert outcomes(turns) == ["kept", "rolled_back", "unchanged", "stopped"]

    def test_two_in_a_row_end_it(self, play: PlayEpisode, square: DrawSquare) -> None:
        same = segmentation(square(), 0.8)

        turns, episode, _, _ = play([BOX, WIDER, BOX, WIDEST], [same, same])

        assert outcomes(turns) == ["kept", "unchanged", "duplicate"]
        assert np.array_equal(mask_of(episode.best), square())

    def test_two_that_are_not_in_a_row_do_not(self, play: PlayEpisode, square: DrawSquare) -> None:
        same, better = segmentation(square(), 0.8), segmentation(square(side=11), 0.9)

        turns, _, _, _ = play([BOX, WIDER, WIDEST, BOX, Stop()], [same, same, better])

        assert outcomes(turns) == ["kept", "unchanged", "kept", "duplicate", "stopped"]


class TestRefused:
    def test_a_prompt_the_segmenter_does_not_understand(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        turns, _, segmenter, _ = play(
            [CLICK, BOX, Stop()],
            [segmentation(square())],
            supported_prompts=frozenset({PromptKind.BOX}),
        )

        assert outcomes(turns) == ["refused", "kept", "stopped"]
        assert turns[0].observation == "this segmenter does not understand a point; use box"
        assert len(segmenter.prompts) == 1

    def test_a_malformed_reply_is_told_what_was_wrong(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        turns, _, _, policy = play(
            [Reply(Malformed("x1 must be larger than x0"), "gibberish"), BOX],
            [segmentation(square())],
        )

        assert outcomes(turns[:2]) == ["refused", "kept"]
        assert turns[0].reply == "gibberish"
        assert policy.observations[1].turns[0].observation == "x1 must be larger than x0"

    def test_three_in_a_row_end_it(self, play: PlayEpisode) -> None:
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
    def test_what_leaves_the_image(self, play: PlayEpisode, action: Action) -> None:
        turns, _, segmenter, _ = play([action])

        assert turns[0].outcome is Outcome.REFUSED
        assert "x runs from 0 to 31" in turns[0].observation
        assert segmenter.prompts == []

    def test_the_outermost_pixels_edges_are_still_inside(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        turns, _, _, _ = play([AddBox(Box(-0.5, -0.5, 31.5, 31.5))], [segmentation(square())])

        assert turns[0].outcome is Outcome.KEPT

    @pytest.mark.parametrize("x", [float("nan"), float("inf")])
    def test_a_click_at_no_number_never_reaches_the_record(
        self, play: PlayEpisode, x: float
    ) -> None:
        turns, _, _, _ = play([AddPoint(Point(x, 3))])

        assert isinstance(turns[0].action, Malformed)

    def test_a_runaway_reply_is_cut_in_the_record(self, play: PlayEpisode) -> None:
        turns, _, _, _ = play([Reply(Malformed("too long"), "z" * 100_000)])

        assert len(turns[0].reply) == 8_000


class TestTheSegmenterFails:
    def test_a_failure_is_an_observation_and_the_best_is_kept(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        turns, episode, _, _ = play(
            [BOX, WIDER, Stop()], [segmentation(square(), 0.8), "no memory"]
        )

        assert outcomes(turns) == ["kept", "no_mask", "stopped"]
        assert turns[1].observation == "the segmenter failed: no memory"
        assert np.array_equal(mask_of(episode.best), square())

    def test_a_failed_prompt_is_forgotten(self, play: PlayEpisode, square: DrawSquare) -> None:
        _, _, segmenter, _ = play(
            [BOX, CLICK, WIDER], [segmentation(square()), "no", segmentation(square(side=11))]
        )

        assert segmenter.prompts[2].points == ()

    def test_an_empty_mask_is_an_observation(self, play: PlayEpisode, square: DrawSquare) -> None:
        empty = segmentation(np.zeros((32, 32), dtype=np.bool_))

        turns, episode, _, _ = play([BOX, WIDER, Stop()], [empty, segmentation(square())])

        assert outcomes(turns) == ["no_mask", "kept", "stopped"]
        assert "nothing was drawn" in turns[0].observation
        assert turns[0].area_px is None
        assert np.array_equal(mask_of(episode.best), square())

    @pytest.mark.parametrize(
        "mask", [np.ones((32, 31), dtype=np.bool_), np.ones((32, 32), dtype=np.float32)]
    )
    def test_what_is_no_mask_of_the_slice_is_a_failure(
        self, play: PlayEpisode, mask: np.ndarray
    ) -> None:
        answer = Segmentation(mask, np.zeros((4, 4), dtype=np.float32), 1.0)

        turns, _, _, _ = play([BOX], [answer])

        assert turns[0].outcome is Outcome.NO_MASK
        assert "its mask is" in turns[0].observation

    def test_three_in_a_row_end_it(self, play: PlayEpisode) -> None:
        boxes = [AddBox(Box(n, n, 20, 20)) for n in range(5)]

        turns, episode, _, _ = play(boxes, ["no"] * 5)

        assert outcomes(turns) == ["no_mask"] * 3
        assert episode.best is None

    def test_any_other_error_passes_through(self, play: PlayEpisode) -> None:
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
    def test_stop_without_a_mask_is_questioned_once(self, play: PlayEpisode) -> None:
        turns, episode, _, _ = play([Stop(), Stop(), BOX])

        assert outcomes(turns) == ["refused", "stopped"]
        assert "no mask yet" in turns[0].observation
        assert episode.best is None
        assert not episode.absent

    def test_absent_ends_at_once(self, play: PlayEpisode) -> None:
        turns, episode, _, _ = play([Absent("only lung here"), BOX])

        assert outcomes(turns) == ["absent"]
        assert episode.absent
        assert episode.best is None

    def test_the_last_mask_stands_where_it_is_to(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        drawn = [segmentation(square(), 0.9), segmentation(square(20), 0.2)]
        replies = [BOX, AddBox(Box(1, 1, 30, 30)), Stop()]

        _, best, _, _ = play(replies, drawn)
        turns, last, _, _ = play(replies, drawn, limits=Limits(keep_last=True))

        assert np.array_equal(mask_of(best.best), square())
        assert outcomes(turns) == ["kept", "kept", "stopped"]
        assert np.array_equal(mask_of(last.best), square(20))

    def test_absent_gives_up_a_poor_mask(self, play: PlayEpisode, square: DrawSquare) -> None:
        turns, episode, _, _ = play([BOX, Absent()], [segmentation(square(), 0.49)])

        assert outcomes(turns) == ["kept", "absent"]
        assert episode.best is None
        assert episode.score == 0.0
        assert episode.absent

    def test_absent_does_not_give_up_a_good_mask(
        self, play: PlayEpisode, square: DrawSquare
    ) -> None:
        turns, episode, _, _ = play([BOX, Absent(), Stop()], [segmentation(square(), 0.5)])

        assert outcomes(turns) == ["kept", "refused", "stopped"]
        assert "score 0.50 has been kept" in turns[1].observation
        assert np.array_equal(mask_of(episode.best), square())
        assert not episode.absent

    @pytest.mark.parametrize(
        ("role", "turns_allowed"), [(Role.KEY, 4), (Role.CARRY, 2), (Role.REVIEW, 3)]
    )
    def test_the_budget_is_the_roles(
        self, play: PlayEpisode, square: DrawSquare, role: Role, turns_allowed: int
    ) -> None:
        boxes = [AddBox(Box(n, n, 20, 20)) for n in range(6)]
        answers = [segmentation(square(side=10 + n), n / 10) for n in range(6)]
        limits = Limits(max_turns=4, carry_turns=2, review_turns=3)

        turns, _, _, policy = play(boxes, answers, limits=limits, role=role)

        assert outcomes(turns) == ["kept"] * turns_allowed
        assert [seen.turns_left for seen in policy.observations] == list(
            range(turns_allowed, 0, -1)
        )
