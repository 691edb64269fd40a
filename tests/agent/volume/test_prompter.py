"""A 3-D segmenter through the volume run: a prompt on a slice, the whole object as the answer."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, TypeVar

import numpy as np
import pytest

from agent.actions import Absent, Action, AddBox, AddPoint, NameSlices, Stop
from agent.errors import SegmenterFailed
from agent.fakes import (
    ArraySlices,
    FakeSegmenter,
    FakeVolumePrompter,
    ScriptedPolicy,
    ThresholdPolicy,
)
from agent.limits import Limits
from agent.ports import Assessment, Localisation, Observation, Reply, Slices
from agent.turns import WHOLE_VOLUME, Outcome, Turn
from agent.values import (
    Box,
    Point,
    PromptKind,
    Prompts,
    Role,
    Scribble,
    Target,
    TargetStatus,
    VolumePrompts,
    VolumeSegmentation,
    VoxelBox,
    VoxelPoint,
)
from agent.volume.outline import outline_target
from agent.volume.prompter import EpisodePrompter, SliceAsVolume
from agent.volume.run import finish_target, follow_outlines
from agent.volume.target_state import EpisodeConfig

DEPTH, KEY = 9, 4
BLOB = Target("bright")
T = TypeVar("T")
ON_BLOB = AddBox(Box(11, 9, 34, 30))


def bright_block(*, second: bool = False) -> np.ndarray:
    """A block as bright as the threshold policy's "bright" on slices 2 to 6; `second` adds
    another on slice 8 that does not touch it.
    """
    array = np.full((DEPTH, 40, 48), 0.1, dtype=np.float32)
    array[2:7, 10:30, 12:34] = 0.7
    if second:
        array[8:, 2:8, 38:46] = 0.7
    return array


class Run:
    """All that a run of one target through a volume left behind."""

    def __init__(
        self, policy: Any, prompter: Any, array: np.ndarray, limits: Limits | None = None
    ) -> None:
        self.prompter, self.policy, limits = prompter, policy, limits or Limits()
        self.slices = ArraySlices(array, prompter, spacing_mm=(3.0, 1.0, 1.0))
        config = EpisodeConfig(policy, prompter, limits)
        self.turns, self.outline = self._all(
            outline_target(BLOB, self.slices, policy, prompter, limits)
        )
        (followed,) = follow_outlines([self.outline], self.slices, config)
        assert followed is self.outline
        later, self.result = self._all(finish_target(followed, self.slices, config))
        self.turns += later

    @property
    def voxels(self) -> np.ndarray:
        """The object that was drawn."""
        assert self.result.voxels is not None
        return self.result.voxels

    @staticmethod
    def _all(work: Generator[Turn, None, T]) -> tuple[list[Turn], T]:
        turns = []
        while True:
            try:
                turns.append(next(work))
            except StopIteration as ended:
                return turns, ended.value


def scripted(
    key: dict[int, list[Action]],
    review: dict[int, list[Action]] | None = None,
    assessment: Assessment | None = None,
) -> ScriptedPolicy:
    """A policy that acts as these scripts say on key slices and in review."""
    scripts: dict[Role | tuple[int, Role], Iterable[Action | Reply]] = {
        (z, Role.KEY): actions for z, actions in key.items()
    }
    scripts |= {(z, Role.REVIEW): actions for z, actions in (review or {}).items()}
    return ScriptedPolicy(Localisation((1.0,) * DEPTH, tuple(key)), scripts, assessment)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum()))


class TestTheWholeWay:
    def test_a_box_on_the_key_slice_gives_the_object(self) -> None:
        array = bright_block()

        run = Run(ThresholdPolicy(), FakeVolumePrompter(), array)

        assert run.result.status is TargetStatus.SEGMENTED
        np.testing.assert_array_equal(run.voxels, array > 0.5)
        assert run.result.warnings == ()
        assert run.result.confidence > 0.8
        assert len(run.prompter.prompts) == 1
        assert run.prompter.prompts[0].boxes[0].z0 == run.prompter.prompts[0].boxes[0].z1

    def test_no_slice_is_carried_and_the_trace_says_where_the_object_is(self) -> None:
        run = Run(scripted({KEY: [ON_BLOB, Stop()]}), FakeVolumePrompter(), bright_block())

        roles = [turn.role for turn in run.turns if turn.slice_index != WHOLE_VOLUME]
        assert roles == [Role.KEY, Role.KEY]
        (followed,) = [turn for turn in run.turns if turn.slice_index == WHOLE_VOLUME]
        assert followed.action == NameSlices((2, 3, 5, 6))
        assert followed.observation == "followed from slice 4 to 4 more slices"
        assert run.outline.followed
        assert run.result.turns == tuple(run.turns)
        assert len({(turn.slice_index, turn.index) for turn in run.turns}) == len(run.turns)

    def test_a_later_click_is_a_prompt_beside_the_box_and_changes_other_slices(self) -> None:
        # Arrange
        click = AddPoint(Point(33, 29))  # the fake fills a ball about it

        # Act
        run = Run(scripted({KEY: [ON_BLOB, click, Stop()]}), FakeVolumePrompter(), bright_block())

        # Assert
        _, corrected = run.prompter.prompts
        assert corrected.boxes == (VoxelBox(KEY, 9, 11, KEY, 30, 34),)
        assert corrected.points == (VoxelPoint(KEY, 29, 33, positive=True),)
        outcomes = [turn.outcome for turn in run.turns if turn.role is Role.KEY]
        assert outcomes[1] is Outcome.ROLLED_BACK  # the ball fills less of its box
        np.testing.assert_array_equal(run.voxels, bright_block() > 0.5)

    def test_a_key_slice_that_the_object_reaches_is_not_worked_on_again(self) -> None:
        array = bright_block(second=True)
        policy = scripted({KEY: [ON_BLOB, Stop()], 3: [ON_BLOB], 8: [AddBox(Box(37, 1, 46, 8))]})

        run = Run(policy, FakeVolumePrompter(), array)

        worked_on = {turn.slice_index for turn in run.turns if turn.role is Role.KEY}
        assert worked_on == {KEY, 8}
        np.testing.assert_array_equal(run.outline.masks[8], array[8] > 0.5)
        np.testing.assert_array_equal(run.outline.masks[3], array[3] > 0.5)
        assert run.prompter.prompts[-1].mask[KEY].any()

    def test_a_correction_in_review_starts_from_the_object_and_replaces_it(self) -> None:
        # Arrange: the review clicks away a corner of slice 6, and with it one of slice 5
        array = bright_block()
        policy = scripted(
            {KEY: [ON_BLOB, Stop()]},
            {6: [AddPoint(Point(12, 10, positive=False)), Stop()]},
            Assessment((6,)),
        )

        # Act
        run = Run(policy, FakeVolumePrompter(), array)

        # Assert
        correction = run.prompter.prompts[1]
        np.testing.assert_array_equal(correction.mask, array > 0.5)
        assert correction.points == (VoxelPoint(6, 10, 12, positive=False),)
        assert run.result.status is TargetStatus.SEGMENTED
        assert not run.voxels[6, 10, 12]
        assert not run.voxels[5, 10, 12]
        assert run.voxels[2, 10, 12]
        assert dice(run.voxels, array > 0.5) > 0.95

    def test_absent_on_a_likely_only_key_slice_is_uncertain(self) -> None:
        run = Run(scripted({KEY: [Absent("nothing")]}), FakeVolumePrompter(), bright_block())

        assert run.result.status is TargetStatus.UNCERTAIN

    def test_an_image_of_its_own_is_a_volume_of_one_slice(self) -> None:
        array = bright_block()[KEY : KEY + 1]
        policy = ScriptedPolicy(Localisation((), (0,)), {Role.KEY: [ON_BLOB, Stop()]})

        run = Run(policy, FakeVolumePrompter(), array)

        np.testing.assert_array_equal(run.voxels, array > 0.5)

    def test_a_prompter_that_fails_is_an_observation(self) -> None:
        class Failing(FakeVolumePrompter):
            def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
                raise SegmenterFailed("no memory")

        run = Run(scripted({KEY: [ON_BLOB, Stop(), Stop()]}), Failing(), bright_block())

        assert run.result.status is TargetStatus.FAILED
        assert run.result.reason.endswith("the segmenter failed: no memory")
        assert run.turns[0].outcome is Outcome.NO_MASK


def test_a_prompter_that_takes_no_masks_wipes_out_no_other_slice() -> None:
    # Arrange: two parts, and a correction in review that is a click alone
    array = bright_block(second=True)
    prompter = FakeVolumePrompter()
    prompter.supported_prompts -= {PromptKind.MASK}
    policy = scripted(
        {KEY: [ON_BLOB, Stop()], 8: [AddBox(Box(37, 1, 46, 8)), Stop()]},
        {6: [AddPoint(Point(20, 20)), Stop()]},
        Assessment((6,)),
    )

    # Act
    run = Run(policy, prompter, array)

    # Assert
    assert [prompts.mask for prompts in prompter.prompts] == [None] * 3
    np.testing.assert_array_equal(run.outline.masks[KEY], array[KEY] > 0.5)
    np.testing.assert_array_equal(run.outline.masks[8], array[8] > 0.5)
    np.testing.assert_array_equal(run.voxels[2:6], array[2:6] > 0.5)


class Runaway(FakeVolumePrompter):
    """Floods one slice with its first answer, and leaves it out of every later one."""

    def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
        answer = super().segment_volume(slices, prompts)
        if len(self.prompts) == 1:
            answer.mask[6] = True
        return answer


def test_a_slice_that_does_not_fit_is_reviewed_with_the_whole_in_view() -> None:
    policy = scripted({KEY: [ON_BLOB, Stop()]}, {6: [ON_BLOB, Stop()]})
    array = bright_block()

    run = Run(policy, Runaway(), array)

    assert {turn.slice_index for turn in run.turns if turn.role is Role.REVIEW} == {6}
    assert run.prompter.prompts[1].mask[6].all()  # the mask in doubt is part of the object so far
    assert run.result.status is TargetStatus.SEGMENTED


class TestOneEpisode:
    def test_an_answer_that_does_not_fill_the_volume_is_a_failure(self) -> None:
        class Small(FakeVolumePrompter):
            def segment_volume(self, slices: Slices, prompts: VolumePrompts) -> VolumeSegmentation:
                return VolumeSegmentation(np.ones((1, 2, 3), dtype=np.bool_), 1.0)

        slices = ArraySlices(bright_block(), FakeVolumePrompter())
        segmenter = EpisodePrompter(Small(), slices, KEY, np.zeros(slices.shape, dtype=np.bool_))

        with pytest.raises(SegmenterFailed, match=r"bool \(1, 2, 3\)"):
            segmenter.segment(slices.encoding(KEY), Prompts(box=ON_BLOB.box))

    def test_a_prompter_that_takes_no_masks_is_given_none(self) -> None:
        prompter = FakeVolumePrompter()
        prompter.supported_prompts -= {"mask"}
        slices = ArraySlices(bright_block(), prompter)

        segmenter = EpisodePrompter(prompter, slices, KEY, np.ones(slices.shape, dtype=np.bool_))
        segmenter.segment(slices.encoding(KEY), Prompts(box=ON_BLOB.box))

        assert prompter.prompts[0].mask is None

    def test_the_policy_sees_the_slice_that_it_prompts(self) -> None:
        policy = scripted({KEY: [ON_BLOB, Stop()]})

        Run(policy, FakeVolumePrompter(), bright_block())

        last: Observation = policy.observations[-1]
        assert last.best is not None
        np.testing.assert_array_equal(last.best.mask, bright_block()[KEY] > 0.5)


class TestValues:
    def test_prompts_of_a_slice_get_their_slice(self) -> None:
        prompts = Prompts(Box(1, 2, 3, 4), (Point(5.5, 6, positive=False),), text="liver")

        volume_prompts = VolumePrompts.on_slice(7, prompts)

        assert volume_prompts.boxes == (VoxelBox(z0=7, y0=2, x0=1, z1=7, y1=4, x1=3),)
        assert volume_prompts.points == (VoxelPoint(z=7, y=6, x=5.5, positive=False),)
        assert volume_prompts.text == "liver"
        assert volume_prompts.kinds == {"box", "point", "text"}

    def test_an_empty_mask_is_no_prompt(self) -> None:
        assert not VolumePrompts(mask=np.zeros((2, 3, 4), dtype=np.bool_)).kinds

    @pytest.mark.parametrize(
        "corners", [(1, 0, 0, 0, 1, 1), (0, 0, 2, 0, 1, 1), (0, np.nan, 0, 0, 1, 1)]
    )
    def test_a_box_turned_round_is_refused(self, corners: Any) -> None:
        with pytest.raises(ValueError, match="z0 <= z1"):
            VoxelBox(*corners)

    @pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 2)])
    def test_a_scribble_without_voxels_is_refused(
        self, shape: tuple[int, int] | tuple[int]
    ) -> None:
        with pytest.raises(ValueError, match="scribble"):
            Scribble(np.zeros(shape, dtype=np.int64))

    def test_the_encoding_of_another_segmenter_is_refused(self) -> None:
        encoding = FakeSegmenter().encode(bright_block()[KEY])

        with pytest.raises(SegmenterFailed, match="another segmenter"):
            FakeVolumePrompter().segment(encoding, Prompts(box=ON_BLOB.box))

    def test_a_slice_as_a_volume(self) -> None:
        colours = np.random.default_rng(0).random((4, 6, 3), dtype=np.float32)

        slices = SliceAsVolume(colours)

        assert slices.shape == (1, 4, 6)
        assert slices.encoding(0) is slices
        np.testing.assert_array_equal(slices.picture(0), colours)
        np.testing.assert_allclose(slices.image(0), colours.mean(axis=2))
        np.testing.assert_array_equal(slices.intensities(0), slices.image(0))
        assert slices.embedding.shape == (1, 4, 6)
        assert slices.high_res == ()
