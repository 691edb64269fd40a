"""A target through a volume: where it begins, how it ends, what is said of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, Never

import numpy as np
import pytest

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.errors import SegmenterFailed, UnknownTarget
from agent.fakes import (
    ArraySlices,
    Band,
    FakeEncoding,
    FakeSegmenter,
    ScriptedPolicy,
    ThresholdPolicy,
    ellipse,
)
from agent.limits import Limits
from agent.ports import Encoding, Localisation, Slices
from agent.trace import Trace, read_trace, write_trace
from agent.turns import WHOLE_VOLUME, TargetResult, Turn
from agent.values import Box, Point, Prompts, Role, Segmentation, Target, TargetStatus
from agent.volume.between import dice
from agent.volume.order import segment_target
from tests.support.agent.box_scripts import (
    DEPTH,
    LIVER,
    FillsBoxes,
    areas,
    by_slice,
    slices_asked,
    square,
)
from tests.support.fixture_types import PlayTarget, RunToEnd


class TestSeveralKeySlices:
    def test_parts_far_apart_are_both_found(self, play: PlayTarget) -> None:
        turns, result, _ = play(
            {1: square(10), 7: square(8, left=40)},
            {0: square(8), 2: square(8), 6: square(6, left=40), 8: square(6, left=40)},
            limits=Limits(end_after=1),
        )

        assert areas(result) == [64, 100, 64, 0, 0, 0, 36, 64, 36]
        assert slices_asked(turns, Role.KEY) == [1, 7]

    def test_the_way_from_one_ends_at_the_other(self, play: PlayTarget) -> None:
        carry = {z: square(10) for z in (4, 5)}

        turns, result, _ = play({3: square(10), 6: square(10)}, carry)

        assert slices_asked(turns, Role.CARRY) == [4, 5, 2, 1, 7, 8]
        assert areas(result)[3:7] == [100] * 4

    def test_no_more_than_the_limit_are_worked_on(self, play: PlayTarget) -> None:
        keys = {z: square(10) for z in (4, 1, 7, 0)}

        turns, _, _ = play(keys, limits=Limits(key_slices=2))

        assert slices_asked(turns, Role.KEY) == [4, 1]

    def test_repeated_and_impossible_ones_are_left_out(self, play: PlayTarget) -> None:
        survey = Localisation((1.0,) * 9, (99, -1, 4, 4, 1))

        turns, _, _ = play({4: square(10), 1: square(10)}, survey=survey)

        assert slices_asked(turns, Role.KEY) == [4, 1]
        assert sum(turn.role is Role.KEY for turn in turns) == 4

    def test_one_without_the_structure_does_not_spoil_the_others(self, play: PlayTarget) -> None:
        _, result, _ = play({7: [Absent()], 4: square(10)})

        assert result.status is TargetStatus.SEGMENTED
        assert areas(result)[4] == 100


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
    def test_a_target_the_survey_does_not_find_is_absent(self, play: PlayTarget) -> None:
        survey = Localisation((0.1,) * 9, (), "no slice looks like it")

        turns, result, _ = play({}, survey=survey)

        assert turns == []
        assert result.status is TargetStatus.ABSENT
        assert result.voxels is None
        assert result.reason == "no slice looks like it"
        assert result.confidence == pytest.approx(0.9)

    def test_absent_on_every_key_slice_is_absent(self, play: PlayTarget) -> None:
        survey = Localisation((0.3,) * 9, (2, 6))

        _, result, _ = play({2: [Absent()], 6: [Absent()]}, survey=survey)

        assert result.status is TargetStatus.ABSENT
        assert "not found there" in result.reason
        assert result.confidence == pytest.approx(0.7)

    def test_no_usable_mask_has_failed_with_the_reason(self, play: PlayTarget) -> None:
        _, result, _ = play({4: [Stop(), Stop()], 5: [Absent()]})

        assert result.status is TargetStatus.FAILED
        assert result.reason == (
            "no usable mask was drawn: on slice 4 the planner ended before it had drawn anything"
        )
        assert result.confidence == 0.0

    @pytest.mark.parametrize(
        "actions",
        [
            [Stop(), Stop()],
            [Malformed("write one call")] * 3,
            [AddPoint(Point(4, 4, positive=True))] * 3,
            [NameSlices((3,))] * 3,
            [AddBox(Box(-50, -50, 500, 500))] * 3,
        ],
        ids=["stop", "malformed", "click", "slices", "outside"],
    )
    def test_no_reason_is_a_sentence_that_was_made_for_the_planner(
        self, play: PlayTarget, actions: list[Action]
    ) -> None:
        turns, result, _ = play({4: actions, 5: [Absent()]})

        told = [turn.observation for turn in turns if turn.observation]
        assert told
        assert result.reason.startswith("no usable mask was drawn: on slice 4 the planner")
        assert not [observation for observation in told if observation in result.reason]

    def test_absent_against_its_own_figures_is_uncertain(self, play: PlayTarget) -> None:
        """What was "absent" with a confidence of 0.01 is an open question."""
        survey = Localisation((0.1,) * 8 + (0.99,), (), "nothing there")

        _, result, _ = play({}, survey=survey)

        assert result.status is TargetStatus.UNCERTAIN
        assert result.reason == (
            "slice 8 looks like it, and none was named to draw it on: nothing there"
        )
        assert result.voxels is None
        assert result.confidence == 0.0

    @pytest.mark.parametrize("key_slices", [(), (4,)])
    def test_a_view_unlike_what_was_learnt_is_uncertain_and_nothing_is_drawn(
        self, play: PlayTarget, key_slices: tuple[int, ...]
    ) -> None:
        survey = Localisation((0.9,) * 9, key_slices, "seen", unlike="an odd view")

        turns, result, _ = play({4: square(10)}, survey=survey)

        assert (result.status, result.reason) == (TargetStatus.UNCERTAIN, "an odd view")
        assert not turns
        assert result.voxels is None

    def test_likely_and_not_found_where_it_was_looked_for_is_uncertain(
        self, play: PlayTarget
    ) -> None:
        _, result, _ = play({2: [Absent()]}, survey=Localisation((0.6,) * 9, (2,)))

        assert result.status is TargetStatus.UNCERTAIN
        assert "not found on those that were looked at" in result.reason

    @pytest.mark.parametrize(
        ("score", "status"), [(0.2, TargetStatus.UNCERTAIN), (0.8, TargetStatus.SEGMENTED)]
    )
    def test_a_single_likely_slice_is_drawn_and_must_be_borne_out(
        self, run: RunToEnd, score: float, status: TargetStatus
    ) -> None:
        class AsSure(FillsBoxes):
            def segment(self, encoding: Encoding, prompts: Prompts) -> Segmentation:
                return replace(super().segment(encoding, prompts), predicted_iou=score)

        survey = Localisation((0.1,) * 4 + (0.9,) + (0.1,) * 4, (4,))
        segmenter = AsSure()
        slices = ArraySlices(np.zeros((9, 64, 64), dtype=np.float32), segmenter)
        policy = ScriptedPolicy(
            survey, {**by_slice(Role.KEY, {4: square(10)}), Role.CARRY: repeat(Absent())}
        )

        _, result = run(segment_target(LIVER, slices, policy, segmenter))

        assert result.status is status
        told = (result.reason, *result.warnings)
        assert any(sentence.startswith("it is likely on one slice") for sentence in told)

    def test_key_slices_outside_the_volume_have_failed(self, play: PlayTarget) -> None:
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
        self, play: PlayTarget, key: int, edges: Any
    ) -> None:
        _, result, _ = play({key: square(10)})

        assert list(result.warnings) == [
            f"the structure is cut off by the {edge} edge of the volume" for edge in edges
        ]

    def test_the_confidence_is_weighted_by_area_and_presence(self, play: PlayTarget) -> None:
        survey = Localisation((0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0), (4,))

        _, result, _ = play({4: square(10)}, {5: square(8)}, survey=survey)

        assert result.confidence == pytest.approx(0.9 * 0.5)
        assert result.warnings == (
            "it is likely on 3 neighbouring slices (3 mm) only, where at least 6 mm are expected",
            "the planner is unsure of the outline: check it",
        )


def test_the_golden_target(play: PlayTarget, tmp_path: Path, repository: Path) -> None:
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


class TestThinSlices:
    """An ellipsoid and a bent tube in 41 slices, 1 mm apart, by a policy and a segmenter that see
    them.
    """

    @pytest.fixture
    def phantom(self) -> np.ndarray:
        volume = np.full((41, 96, 96), 0.2, dtype=np.float32)
        for z in range(41):
            if 4 <= z <= 36:
                wide = 26 * (1 - ((z - 20) / 17) ** 2) ** 0.5
                volume[z][ellipse((96, 96), (34, 48), (wide, 0.8 * wide))] = 0.8
            volume[z][ellipse((96, 96), (76, 20 + 1.4 * z), (6, 6))] = 0.5
        return volume

    def segmented(
        self, run: RunToEnd, volume: np.ndarray, name: str, limits: Limits
    ) -> tuple[TargetResult, int]:
        segmenter = FakeSegmenter()
        slices = ArraySlices(volume, segmenter)
        policy = ThresholdPolicy({"ellipsoid": Band(0.7, 0.9), "tube": Band(0.4, 0.6)})
        _, result = run(segment_target(Target(name), slices, policy, segmenter, limits))
        return result, slices.encoder_passes

    @pytest.mark.parametrize(("name", "least_dice"), [("ellipsoid", 0.985), ("tube", 0.97)])
    def test_fewer_are_drawn_and_the_object_is_the_same(
        self, run: RunToEnd, phantom: np.ndarray, name: str, least_dice: float
    ) -> None:
        every, _ = self.segmented(run, phantom, name, Limits())

        some, _ = self.segmented(run, phantom, name, Limits(draw_step_mm=4.0))

        assert every.voxels is not None
        assert some.voxels is not None
        assert dice(some.voxels, every.voxels) >= least_dice
        # both end on the same slices, and no slice is lost between
        shown = [
            np.flatnonzero(voxels.any(axis=(1, 2))).tolist()
            for voxels in (every.voxels, some.voxels)
        ]
        assert shown[0] == shown[1]
        assert some.confidence <= every.confidence

    def test_the_models_are_asked_about_fewer_slices(
        self, run: RunToEnd, phantom: np.ndarray
    ) -> None:
        every, all_passes = self.segmented(run, phantom, "ellipsoid", Limits())

        some, passes = self.segmented(run, phantom, "ellipsoid", Limits(draw_step_mm=4.0))

        drawn = {turn.slice_index for turn in some.turns} - {WHOLE_VOLUME}
        filled = [turn for turn in some.turns if turn.role is Role.FILL]
        assert passes < 0.6 * all_passes
        assert len(some.turns) < 0.7 * len(every.turns)
        assert len(drawn) == passes
        assert any("were interpolated between drawn ones" in told for told in some.warnings)
        assert not drawn & {z for turn in filled for z in named(turn)}

    def test_every_slice_of_it_is_accounted_for(self, run: RunToEnd, phantom: np.ndarray) -> None:
        some, _ = self.segmented(run, phantom, "ellipsoid", Limits(draw_step_mm=4.0))

        assert some.voxels is not None
        kept = {turn.slice_index for turn in some.turns if turn.masks} - {WHOLE_VOLUME}
        filled = {z for turn in some.turns if turn.role is Role.FILL for z in named(turn)}
        assert kept | filled >= set(np.flatnonzero(some.voxels.any(axis=(1, 2))).tolist())


def named(turn: Turn) -> tuple[int, ...]:
    """The slices that a turn of the whole volume names."""
    return turn.action.slices if isinstance(turn.action, NameSlices) else ()
