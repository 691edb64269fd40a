"""A target through a volume: carried both ways, guarded against drift, reviewed, summed up.

The segmenter here fills the box it is given, so a script of boxes is a script of masks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest

from agent.actions import Absent, Action, AddBox, Stop
from agent.errors import SegmenterFailed, UnknownTarget
from agent.fakes import ArraySlices, FakeEncoding, ScriptedPolicy, ThresholdPolicy, segmentation
from agent.limits import Limits
from agent.ports import Encoding, Localisation, PromptedSlice, Reply, Slices
from agent.trace import Trace, read_trace, write_trace
from agent.turns import TargetResult, Turn
from agent.values import Box, PromptKind, Prompts, Role, Segmentation, Target, TargetStatus
from agent.volume.order import segment_target
from agent.volume.outline import outline_target
from tests.support.fixture_types import Clock, RunToEnd

DEPTH = 9
LIVER = Target("liver", "liver")


class FillsBoxes:
    """A segmenter whose mask is the box."""

    name = "fills boxes"
    supported_prompts = frozenset({PromptKind.BOX})

    def encode(self, image: np.ndarray) -> FakeEncoding:
        return FakeEncoding(image)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        return [self.segment(ask.encoding, ask.prompts) for ask in asks]

    def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
        mask = np.zeros(encoding.source_shape, dtype=np.bool_)
        box = prompts.box
        assert box is not None
        mask[int(box.y0) : int(box.y1) + 1, int(box.x0) : int(box.x1) + 1] = True
        return segmentation(mask, 0.9)


def square(side: int, left: int = 10, top: int = 10) -> AddBox:
    return AddBox(Box(left, top, left + side - 1, top + side - 1))


Script = Mapping[int, AddBox | Sequence[Action]]


def by_slice(role: Role, script: Script) -> dict[Role | tuple[int, Role], Iterable[Action | Reply]]:
    """A script for a role; a box alone is a box and a stop."""
    return {
        (z, role): [said, Stop()] if isinstance(said, AddBox) else list(said)
        for z, said in script.items()
    }


@pytest.fixture
def play(run: RunToEnd, clock: Clock) -> Any:
    """Segment a scripted target in nine slices of 64 x 64; slices without a script are absent."""

    def target(
        key: Script,
        carry: Script | None = None,
        review: Script | None = None,
        *,
        survey: Localisation | None = None,
        limits: Limits | None = None,
        depth: int = DEPTH,
    ) -> tuple[list[Turn], TargetResult, ScriptedPolicy]:
        segmenter = FillsBoxes()
        slices = ArraySlices(np.zeros((depth, 64, 64), dtype=np.float32), segmenter)
        policy = ScriptedPolicy(
            survey or Localisation((1.0,) * depth, tuple(key)),
            {
                **by_slice(Role.KEY, key),
                **by_slice(Role.CARRY, carry or {}),
                **by_slice(Role.REVIEW, review or {}),
                Role.CARRY: repeat(Absent()),
                Role.REVIEW: repeat(Absent()),
            },
        )
        turns, result = run(
            segment_target(LIVER, slices, policy, segmenter, limits or Limits(), clock=clock)
        )
        return turns, result, policy

    return target


def areas(result: TargetResult) -> list[int]:
    assert result.voxels is not None
    return [int(area) for area in result.voxels.sum(axis=(1, 2))]


def slices_asked(turns: Sequence[Turn], role: Role) -> list[int]:
    return list(dict.fromkeys(turn.slice_index for turn in turns if turn.role is role))


class TestTheWayThrough:
    def test_key_slice_first_then_up_then_down_until_it_ends(self, play: Any) -> None:
        carry = {2: square(6), 3: square(8), 5: square(8), 6: square(6)}

        turns, result, _ = play({4: square(10)}, carry)

        assert result.status is TargetStatus.SEGMENTED
        assert areas(result) == [0, 0, 36, 64, 100, 64, 36, 0, 0]
        assert slices_asked(turns, Role.KEY) == [4]
        # two slices without it, and nobody asks any further
        assert slices_asked(turns, Role.CARRY) == [5, 6, 7, 8, 3, 2, 1, 0]
        assert slices_asked(turns, Role.REVIEW) == []
        assert result.warnings == ()
        assert result.turns == tuple(turns)

    def test_it_ends_after_two_slices_without_it(self, play: Any) -> None:
        turns, result, _ = play({4: square(10)}, limits=Limits(end_after=2))

        assert slices_asked(turns, Role.CARRY) == [5, 6, 3, 2]
        assert areas(result) == [0, 0, 0, 0, 100, 0, 0, 0, 0]

    def test_the_policy_is_shown_the_neighbours_mask(self, play: Any) -> None:
        _, _, policy = play({4: square(10)}, {5: square(8)})

        carried = {
            seen.slice_index: int(seen.carried.sum())
            for seen in policy.observations
            if seen.role is Role.CARRY
        }

        assert carried == {5: 100, 6: 64, 7: 64, 3: 100, 2: 100}

    def test_a_turn_is_named_by_slice_and_index(self, play: Any) -> None:
        # slice 5 is drawn too large when carried, and again in the review
        carry = {5: [square(40), square(30)], 6: square(10)}

        turns, _, _ = play({4: square(10)}, carry, {5: square(10)})

        names = [(turn.slice_index, turn.index) for turn in turns]
        assert len(set(names)) == len(names)
        on_five = [turn for turn in turns if turn.slice_index == 5]
        assert [turn.index for turn in on_five] == [0, 1, 2, 3]
        assert [turn.role for turn in on_five] == [Role.CARRY] * 2 + [Role.REVIEW] * 2

    def test_slices_the_survey_rules_out_are_not_asked_about(self, play: Any) -> None:
        survey = Localisation((0.0, 0.0, 0.0, 0.9, 1.0, 0.9, 0.0, 0.0, 0.0), (4,))
        carry = {3: square(8), 5: square(8)}

        turns, result, _ = play({4: square(10)}, carry, survey=survey)

        assert slices_asked(turns, Role.CARRY) == [5, 3]
        assert areas(result) == [0, 0, 0, 64, 100, 64, 0, 0, 0]

    def test_a_survey_without_figures_rules_nothing_out(self, play: Any) -> None:
        turns, result, _ = play({4: square(10)}, {3: square(8)}, survey=Localisation((), (4,)))

        assert slices_asked(turns, Role.CARRY) == [5, 6, 3, 2, 1]
        assert result.confidence == pytest.approx(0.9)

    def test_one_slice_alone_is_a_volume_too(self, play: Any) -> None:
        turns, result, _ = play({0: square(10)}, depth=1)

        assert areas(result) == [100]
        assert result.warnings == ()  # what has no other slices is not cut off by them
        assert len(turns) == 2

    def test_it_can_be_stopped_between_turns(self) -> None:
        segmenter = FillsBoxes()
        slices = ArraySlices(np.zeros((9, 64, 64), dtype=np.float32), segmenter)
        policy = ScriptedPolicy(Localisation((1.0,) * 9, (4,)), by_slice(Role.KEY, {4: square(10)}))
        work = outline_target(LIVER, slices, policy, segmenter)

        next(work)
        work.close()

        assert len(policy.observations) == 1


class TestSeveralKeySlices:
    def test_parts_far_apart_are_both_found(self, play: Any) -> None:
        turns, result, _ = play(
            {1: square(10), 7: square(8, left=40)},
            {0: square(8), 2: square(8), 6: square(6, left=40), 8: square(6, left=40)},
            limits=Limits(end_after=1),
        )

        assert areas(result) == [64, 100, 64, 0, 0, 0, 36, 64, 36]
        assert slices_asked(turns, Role.KEY) == [1, 7]

    def test_the_way_from_one_ends_at_the_other(self, play: Any) -> None:
        carry = {z: square(10) for z in (4, 5)}

        turns, result, _ = play({3: square(10), 6: square(10)}, carry)

        assert slices_asked(turns, Role.CARRY) == [4, 5, 2, 1, 7, 8]
        assert areas(result)[3:7] == [100] * 4

    def test_no_more_than_the_limit_are_worked_on(self, play: Any) -> None:
        keys = {z: square(10) for z in (4, 1, 7, 0)}

        turns, _, _ = play(keys, limits=Limits(key_slices=2))

        assert slices_asked(turns, Role.KEY) == [4, 1]

    def test_repeated_and_impossible_ones_are_left_out(self, play: Any) -> None:
        survey = Localisation((1.0,) * 9, (99, -1, 4, 4, 1))

        turns, _, _ = play({4: square(10), 1: square(10)}, survey=survey)

        assert slices_asked(turns, Role.KEY) == [4, 1]
        assert sum(turn.role is Role.KEY for turn in turns) == 4

    def test_one_without_the_structure_does_not_spoil_the_others(self, play: Any) -> None:
        _, result, _ = play({7: [Absent()], 4: square(10)})

        assert result.status is TargetStatus.SEGMENTED
        assert areas(result)[4] == 100


class TestDrift:
    def test_a_flood_is_an_observation_and_may_be_mended(self, play: Any) -> None:
        turns, result, _ = play({4: square(10)}, {5: [square(40), square(11)]})

        flooded, mended = [turn for turn in turns if turn.slice_index == 5]
        assert flooded.outcome == "rolled_back"
        assert "jumped to 16.0 times" in flooded.observation
        assert mended.outcome == "kept"
        assert areas(result)[5] == 121
        assert result.warnings == ()

    def test_a_flood_that_stays_ends_the_way_and_is_said(self, play: Any) -> None:
        carry = {z: [square(40), square(41)] for z in (5, 6)}

        turns, result, _ = play({4: square(10)}, carry)

        assert areas(result) == [0, 0, 0, 0, 100, 0, 0, 0, 0]
        assert slices_asked(turns, Role.CARRY) == [5, 6, 3, 2]
        assert result.warnings[0].startswith(
            "on slice 5 the outline could not be followed from slice 4: "
            "the area jumped to 16.8 times"
        )

    def test_a_mask_that_leaves_its_place_is_not_followed(self, play: Any) -> None:
        carry = {5: [square(10, left=40), square(10, left=41)]}

        _, result, _ = play({4: square(10)}, carry)

        assert areas(result)[5] == 0
        assert "left its place" in result.warnings[0]

    def test_one_missing_slice_is_followed_from_the_one_before(self, play: Any) -> None:
        carry = {5: [square(40), square(41)], 6: square(9)}

        _, result, policy = play({4: square(10)}, carry, {5: square(10)})

        assert areas(result)[4:7] == [100, 100, 81]
        shown = next(seen for seen in policy.observations if seen.slice_index == 6)
        assert shown.carried.sum() == 100


class TestReview:
    def test_a_slice_without_a_mask_between_two_is_drawn_again(self, play: Any) -> None:
        turns, result, policy = play({4: square(10)}, {6: square(10)}, {5: square(10)})

        assert areas(result)[4:7] == [100, 100, 100]
        assert slices_asked(turns, Role.REVIEW) == [5]
        asked = next(seen for seen in policy.observations if seen.role is Role.REVIEW)
        assert asked.carried.sum() == 100  # what the neighbours suggest
        assert asked.latest is None
        assert result.warnings == ()

    def test_what_nobody_can_draw_is_filled_from_the_neighbours(self, play: Any) -> None:
        _, result, _ = play({4: square(10)}, {6: square(10)})

        assert areas(result)[4:7] == [100, 100, 100]
        assert result.warnings == (
            "slice 5 was filled from its neighbours: it is empty between two slices that are not",
        )

    def test_a_dip_is_shown_to_the_policy_and_redrawn(self, play: Any) -> None:
        carry = {3: square(20), 5: square(3, left=15, top=15), 6: square(20), 7: square(20)}

        _, result, policy = play({4: square(20)}, carry, {5: square(20)})

        assert areas(result)[3:8] == [400] * 5
        asked = next(seen for seen in policy.observations if seen.role is Role.REVIEW)
        assert asked.slice_index == 5
        assert asked.latest.mask.sum() == 9  # the mask under review
        assert asked.best is None
        assert result.warnings == ()

    def test_the_slice_that_two_neighbours_speak_against_comes_first(self, play: Any) -> None:
        # slice 2, the last one, is far larger than slice 3; but it is slice 3 that is wrong
        carry = {5: square(20), 3: square(3, left=15, top=15), 2: square(20)}

        turns, result, _ = play({4: square(20)}, carry)

        assert slices_asked(turns, Role.REVIEW) == [3]
        assert areas(result)[2:6] == [400] * 4

    def test_a_dip_that_is_drawn_again_as_it_was_is_filled(self, play: Any) -> None:
        dip = square(3, left=15, top=15)
        carry = {3: square(20), 5: dip, 6: square(20), 7: square(20)}

        turns, result, _ = play({4: square(20)}, carry, {5: [dip, Stop(), Stop()]})

        assert areas(result)[5] == 400
        assert result.warnings == (
            "slice 5 was filled from its neighbours: its area is far smaller than its neighbours'",
        )
        redrawn = [turn for turn in turns if turn.role is Role.REVIEW]
        assert [turn.outcome for turn in redrawn] == ["unchanged", "refused", "stopped"]

    def test_a_runaway_key_slice_is_seen_from_its_neighbours(self, play: Any) -> None:
        # the key slice itself was drawn far too large: shrinking is no drift, so the carry went on
        carry = {3: square(10), 5: square(10), 6: square(10)}

        _, result, _ = play({4: square(50)}, carry)

        assert areas(result)[3:7] == [100] * 4
        assert (
            "slice 4 was filled from its neighbours: its area is far larger" in result.warnings[0]
        )

    def test_a_runaway_at_the_end_is_cut(self, play: Any) -> None:
        # drawn from both sides: slice 6 was a key slice of its own, and shares nothing with slice 5
        _, result, _ = play(
            {4: square(12), 6: square(12, left=45)}, {5: square(12), 7: [Absent()], 3: square(12)}
        )

        assert areas(result) == [0, 0, 0, 144, 144, 144, 0, 0, 0]
        assert "slice 6 was cut: it does not lie on its neighbours" in result.warnings

    def test_a_redrawn_slice_must_fit(self, play: Any) -> None:
        carry = {3: square(20), 5: square(3, left=15, top=15), 6: square(20)}

        turns, result, _ = play(
            {4: square(20)}, carry, {5: [square(60, left=0, top=0), square(18), Stop()]}
        )

        redrawn = [turn for turn in turns if turn.role is Role.REVIEW]
        assert [turn.outcome for turn in redrawn] == ["rolled_back", "kept", "stopped"]
        assert areas(result)[5] == 18 * 18

    def test_the_review_has_a_budget_and_says_so(self, play: Any) -> None:
        survey = Localisation((1.0,) * 9, (0, 2, 4))

        turns, result, _ = play(
            {0: square(10), 2: square(10), 4: square(10)},
            {6: square(10)},
            survey=survey,
            limits=Limits(review_slices=1),
        )

        assert len(slices_asked(turns, Role.REVIEW)) == 1
        assert any("2 slices more than were reviewed" in warning for warning in result.warnings)

    def test_a_filled_slice_counts_half_in_the_confidence(self, play: Any) -> None:
        _, result, _ = play({4: square(10)}, {6: square(10)})

        assert result.confidence == pytest.approx((0.9 + 0.45 + 0.9) / 3)


def test_an_island_that_hangs_on_nothing_is_left_out_and_said(run: RunToEnd) -> None:
    class WithAnIsland(FillsBoxes):
        def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
            assert isinstance(encoding, FakeEncoding)
            drawn = super().segment(encoding, prompts)
            if encoding.image.any():
                drawn.mask[50:55, 50:55] = True
            return drawn

    # Arrange: the island appears on slice 5 alone
    image = np.zeros((DEPTH, 64, 64), dtype=np.float32)
    image[5] = 1.0
    segmenter = WithAnIsland()
    policy = ScriptedPolicy(
        Localisation((), (4,)),
        {
            **by_slice(Role.KEY, {4: square(10)}),
            **by_slice(Role.CARRY, {5: square(10)}),
            Role.CARRY: repeat(Absent()),
        },
    )

    # Act
    _, result = run(segment_target(LIVER, ArraySlices(image, segmenter), policy, segmenter))

    # Assert
    assert areas(result) == [0, 0, 0, 0, 100, 100, 0, 0, 0]
    assert result.warnings == ("11 % of what was drawn lay apart from the rest and was left out",)


class TestHowItEnds:
    def test_a_target_the_survey_does_not_find_is_absent(self, play: Any) -> None:
        survey = Localisation((0.1,) * 9, (), "no slice looks like it")

        turns, result, _ = play({}, survey=survey)

        assert turns == []
        assert result.status is TargetStatus.ABSENT
        assert result.voxels is None
        assert result.reason == "no slice looks like it"
        assert result.confidence == pytest.approx(0.9)

    def test_absent_on_every_key_slice_is_absent(self, play: Any) -> None:
        survey = Localisation((0.3,) * 9, (2, 6))

        _, result, _ = play({2: [Absent()], 6: [Absent()]}, survey=survey)

        assert result.status is TargetStatus.ABSENT
        assert "not found there" in result.reason
        assert result.confidence == pytest.approx(0.7)

    def test_no_usable_mask_has_failed_with_the_reason(self, play: Any) -> None:
        _, result, _ = play({4: [Stop(), Stop()], 5: [Absent()]})

        assert result.status is TargetStatus.FAILED
        assert result.reason.startswith("no usable mask was drawn: there is no mask yet")
        assert result.confidence == 0.0

    def test_key_slices_outside_the_volume_have_failed(self, play: Any) -> None:
        _, result, _ = play({}, survey=Localisation((1.0,) * 9, (77,)))

        assert result.status is TargetStatus.FAILED
        assert "named no slice of this volume" in result.reason

    def test_an_unknown_target_has_failed_and_says_what_is_known(self, run: RunToEnd) -> None:
        segmenter = FillsBoxes()
        slices = ArraySlices(np.zeros((3, 64, 64), dtype=np.float32), segmenter)

        turns, result = run(segment_target(Target("unicorn"), slices, ThresholdPolicy(), segmenter))

        assert turns == []
        assert result.status is TargetStatus.FAILED
        assert "does not know 'unicorn'. It knows: liver" in result.reason
        assert slices.encoder_passes == 0

    def test_a_survey_the_segmenter_fails_at_has_failed(self, run: RunToEnd) -> None:
        class CannotLook(ScriptedPolicy):
            def localise(self, target: Target, slices: Slices) -> Never:
                raise SegmenterFailed("the encoder ran out of memory")

        segmenter = FillsBoxes()
        slices = ArraySlices(np.zeros((3, 64, 64), dtype=np.float32), segmenter)

        _, result = run(
            segment_target(LIVER, slices, CannotLook(Localisation((), ()), {}), segmenter)
        )

        assert result.status is TargetStatus.FAILED
        assert result.reason == "the encoder ran out of memory"

    @pytest.mark.parametrize(
        ("key", "edges"),
        [(0, ["lower"]), (8, ["upper"]), (4, [])],
    )
    def test_a_structure_at_the_edge_is_cut_off_by_it(
        self, play: Any, key: int, edges: Any
    ) -> None:
        _, result, _ = play({key: square(10)})

        assert list(result.warnings) == [
            f"the structure is cut off by the {edge} edge of the volume" for edge in edges
        ]

    def test_the_confidence_is_weighted_by_area_and_presence(self, play: Any) -> None:
        survey = Localisation((0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0), (4,))

        _, result, _ = play({4: square(10)}, {5: square(8)}, survey=survey)

        assert result.confidence == pytest.approx(0.9 * 0.5)
        assert result.warnings == ("the confidence is only 0.45: check the outline",)


def test_the_golden_target(play: Any, tmp_path: Path, repository: Path) -> None:
    """Key slice, a flood mended, a gap filled: the trace as version 2 writes it, byte for byte."""
    carry = {3: square(8), 5: [square(40), square(11)], 7: square(9)}

    _, result, _ = play({4: square(10)}, carry)
    write_trace(tmp_path / "trace.json", Trace.of([result]))

    golden = repository / "tests" / "golden" / "trace-v2-through-volume.json"
    assert (tmp_path / "trace.json").read_text() == golden.read_text()
    assert read_trace(golden).targets[0].warnings == result.warnings


def test_the_errors_name_what_they_must() -> None:
    error = UnknownTarget("unicorn", "locator", ("liver", "spleen"))

    assert (error.text, error.policy, error.supported) == (
        "unicorn",
        "locator",
        ("liver", "spleen"),
    )
