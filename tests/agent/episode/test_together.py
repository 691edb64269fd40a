"""Many slices in lock-step: each episode goes as it would alone, with one call a turn for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from agent.actions import AddBox, Stop
from agent.episode.loop import run_episode, run_together
from agent.errors import SegmenterFailed
from agent.fakes import ArraySlices, FakeSegmenter, ThresholdPolicy
from agent.limits import Limits
from agent.ports import Localisation, Observation, PromptedSlice, Reply, Slices
from agent.values import Box, Role, Segmentation, Target
from agent.volume.outline import outline_target
from tests.support.fixture_types import Clock, RunToEnd

BRIGHT = Target("bright", "bright")


class Counting(FakeSegmenter):
    """Counts the calls, and fails a batch when it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.batches: list[int] = []
        self.fails = fails

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        self.batches.append(len(asks))
        if self.fails:
            raise SegmenterFailed("too many at once")
        return super().segment_many(asks)


class Together(ThresholdPolicy):
    """ThresholdPolicy that is asked for several episodes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def act_many(self, observations: Sequence[Observation]) -> list[Reply]:
        self.asked.append(len(observations))
        return [self.act(one) for one in observations]


@pytest.fixture
def images() -> np.ndarray:
    """Four slices: squares of 6, 8 and 10 pixels, and nothing."""
    volume = np.zeros((4, 32, 32), dtype=np.float32)
    for z, side in enumerate((6, 8, 10)):
        volume[z, 8 : 8 + side, 8 : 8 + side] = 0.8
    return volume


def starts(slices: ArraySlices) -> list[Observation]:
    return [Observation(BRIGHT, slices, z, Role.KEY) for z in range(slices.shape[0])]


@pytest.mark.parametrize("fails", [False, True])
def test_each_goes_as_it_would_alone(
    run: RunToEnd, images: np.ndarray, clock: Clock, fails: bool
) -> None:
    # Arrange
    segmenter, policy, limits = Counting(fails=fails), Together(), Limits()
    slices = ArraySlices(images, segmenter)
    alone = [
        run(run_episode(one, ThresholdPolicy(), FakeSegmenter(), limits, clock=lambda: 0.0))[1]
        for one in starts(slices)
    ]

    # Act
    turns, together = run(
        run_together(starts(slices), policy, segmenter, limits, clock=lambda: 0.0)
    )

    # Assert
    for one, same in zip(alone, together, strict=True):
        assert one.turns == same.turns
        assert one.absent == same.absent
        assert (one.best is None) == (same.best is None)
        if one.best is not None:
            assert np.array_equal(one.best.mask, same.best.mask)
    assert [index for index, _ in turns] == [0, 1, 2, 3, 0, 1, 2]
    assert policy.asked == [4, 3]
    assert segmenter.batches == [3]


def test_a_policy_that_answers_one_by_one_will_do(run: RunToEnd, images: np.ndarray) -> None:
    segmenter = FakeSegmenter()
    slices = ArraySlices(images, segmenter)

    _, episodes = run(run_together(starts(slices), ThresholdPolicy(), segmenter, Limits()))

    assert [one.best is None for one in episodes] == [False, False, False, True]


def test_a_targets_key_slices_go_in_lock_step_where_the_policy_can(
    run: RunToEnd, images: np.ndarray
) -> None:
    # Arrange
    segmenter = Counting()
    slices = ArraySlices(images, segmenter)
    survey = Localisation((0.9, 0.9, 0.9, 0.9), (1, 3, 0))

    class Seeing(Together):
        def localise(self, target: Target, slices: Slices) -> Localisation:
            return survey

    policy = Seeing()

    # Act
    turns, outline = run(outline_target(BRIGHT, slices, policy, segmenter))

    # Assert: slice 3 shows nothing, the policy says so in its first turn
    assert policy.asked == [3, 2]
    assert [turn.slice_index for turn in turns] == [1, 3, 0, 1, 0]
    assert outline.key_slices == (1, 0)
    assert sorted(outline.masks) == [0, 1]
    assert outline.turns == tuple(turns)


def test_seconds_are_shared(run: RunToEnd, images: np.ndarray, clock: Clock) -> None:
    # every look at the clock is half a second after the last
    slices = ArraySlices(images, FakeSegmenter())

    turns, _ = run(run_together(starts(slices), Together(), FakeSegmenter(), Limits(), clock=clock))

    first = [turn for _, turn in turns[:4]]
    # half a second for four replies and, for the three that drew, for three answers; half a second
    # of appraisal each
    assert [turn.policy_s for turn in first] == [0.625, 0.625, 0.625, 0.125]
    assert [turn.segmenter_s for turn in first] == pytest.approx([1 / 6, 1 / 6, 1 / 6, 0.0])


def test_an_episode_may_be_shown_its_own_past(run: RunToEnd) -> None:
    """What the policy was shown after each turn stays as it was, whatever is drawn later."""
    # Arrange
    segmenter = FakeSegmenter()
    image = np.full((1, 32, 32), 0.8, dtype=np.float32)
    slices = ArraySlices(image, segmenter)
    boxes = [Box(2, 2, 9, 9), Box(2, 2, 15, 15)]
    seen: list[Observation] = []

    class Widening(ThresholdPolicy):
        def act(self, observation: Observation) -> Reply:
            seen.append(observation)
            turn = len(observation.turns)
            return Reply(AddBox(boxes[turn]) if turn < 2 else Stop())

        def score(self, observation: Observation, segmentation: Segmentation) -> float:
            return float(segmentation.mask.mean())

    # Act
    run(run_episode(Observation(BRIGHT, slices, 0, Role.KEY), Widening(), segmenter, Limits()))

    # Assert
    assert [len(one.best_masks) for one in seen] == [0, 1, 2]
    assert [np.count_nonzero(mask) for mask in seen[2].best_masks if mask is not None] == [64, 196]
    assert seen[1].best_masks[0] is seen[2].best_masks[0]
    assert seen[0].supported_prompts == FakeSegmenter.supported_prompts
