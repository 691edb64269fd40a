"""Turns gone through again from trace and masks alone: the same end, the same observations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.actions import Absent, Action, AddBox, AddPoint, Malformed, NameSlices, Stop
from agent.errors import ChatFailed, NoAnswer, ReplayDiffers, SegmenterFailed
from agent.fakes import (
    ArraySlices,
    Band,
    FakeSegmenter,
    FakeVolumePrompter,
    FakeVolumeSegmenter,
    ThresholdPolicy,
    ellipse,
    segmentation,
)
from agent.knowledge import ANYTHING
from agent.limits import Limits
from agent.ports import (
    Assessment,
    Encoding,
    Localisation,
    Observation,
    Policy,
    Reply,
    Segmenter,
    Slices,
)
from agent.replay import Masks, replay_target
from agent.trace import Trace, TracedTarget, trace_from_record, trace_record
from agent.turns import Outcome, TargetResult
from agent.values import Box, Point, PromptKind, Prompts, Role, Target, TargetStatus
from agent.volume.order import segment_target

DEPTH, SIDE = 9, 48
BALL = Target("ball")


@pytest.fixture
def volume() -> NDArray[np.float32]:
    """A bright ball in nine slices."""
    volume = np.full((DEPTH, SIDE, SIDE), 0.2, dtype=np.float32)
    for z in range(1, 8):
        volume[z][ellipse((SIDE, SIDE), (22, 25), (12 - abs(z - 4), 10 - abs(z - 4)))] = 0.8
    return volume


Recorded = tuple[TracedTarget, Masks]
"""A traced target, and its masks by slice and turn."""


class Watched:
    """A policy whose observations are kept by (slice, turn)."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.seen: list[Observation] = []
        self.looked_over: list[NDArray[np.bool_]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def act(self, observation: Observation) -> Reply:
        self.seen.append(observation)
        return self._policy.act(observation)

    def assess(self, target: Target, slices: Slices, voxels: np.ndarray) -> Any:
        self.looked_over.append(voxels.copy())
        return self._policy.assess(target, slices, voxels)


class Rambling:
    """A policy without sense that tries everything, the same for the same seed."""

    name = "rambling"
    knowledge = ANYTHING

    def __init__(self, seed: int, *, words: bool) -> None:
        self._random, self._words = np.random.default_rng(seed), words

    def localise(self, target: Target, slices: Slices) -> Localisation:
        keys = tuple(int(z) for z in self._random.permutation(DEPTH)[:3])
        presence = tuple(float(p) for p in self._random.random(DEPTH))
        if not self._words:
            return Localisation(presence, keys)
        fault = Reply(Malformed("no words"), "?")
        return Localisation((), keys, replies=(fault, Reply(NameSlices(keys), "there")))

    def act(self, observation: Observation) -> Reply:
        x, y = (float(number) for number in self._random.uniform(5, 40, 2))
        actions: list[Action] = [
            AddBox(Box(x, y, x + 5, y + 6)),
            AddBox(Box(10, 12, 34, 36)),
            AddPoint(Point(x, y, bool(self._random.integers(2)))),
            AddPoint(Point(22, 25)),
            AddPoint(Point(float("nan"), 2)),
            Malformed("what?"),
            NameSlices((1,)),
            Stop(),
            Absent("gone"),
        ]
        odds = [0.2, 0.2, 0.2, 0.1, 0.05, 0.05, 0.05, 0.1, 0.05]
        return Reply(actions[self._random.choice(len(actions), p=odds)], "so be it")

    def score(self, observation: Observation, drawn: Any) -> float:
        return float(self._random.choice([0.3, 0.6, 0.61, 0.9, np.nan]))

    def assess(self, target: Target, slices: Slices, voxels: np.ndarray) -> Assessment:
        slices_named = tuple(int(z) for z in self._random.permutation(DEPTH)[:3])
        replies = (Reply(NameSlices(slices_named), "these"),) if self._words else ()
        if self._random.random() < 0.2:
            raise NoAnswer("nothing to read", (Reply(Malformed("?"), "?"),) * len(replies))
        return Assessment(slices_named, replies)


class Scribbler(FakeSegmenter):
    """Draws an ellipse anywhere, nothing, or fails."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def segment(self, encoding: Encoding, prompts: Prompts) -> Any:
        chance = self._random.random()
        if chance < 0.1:
            raise SegmenterFailed("no memory")
        if chance < 0.2:
            return segmentation(np.zeros((SIDE, SIDE), dtype=np.bool_))
        centre = 22.0 + float(self._random.integers(-1, 2)), 25.0
        across, down = map(float, self._random.choice([6, 8, 10, 14], 2))
        mask = ellipse((SIDE, SIDE), centre, (across, down))
        mask[20:23, 20:23] = False  # a hole that is filled
        mask[2, 2] = True  # a speck that is dropped
        return replace(segmentation(mask, 0.7), choice=1, candidate_ious=(0.5, 0.7))


class ScribblingFollower(Scribbler, FakeVolumeSegmenter):
    """The same, and follows as the fake does, or fails on the way."""

    def __init__(self, seed: int) -> None:
        FakeVolumeSegmenter.__init__(self)
        Scribbler.__init__(self, seed)

    def propagate(self, slices: Slices, seeds: Any, continue_if: Any) -> Iterator[Any]:
        for drawn in FakeVolumeSegmenter.propagate(self, slices, seeds, continue_if):
            yield drawn
            if self._random.random() < 0.03:
                raise SegmenterFailed("lost on the way")


def run(
    policy: Policy,
    segmenter: Segmenter,
    volume: NDArray[np.float32],
    target: Target = BALL,
    limits: Limits | None = None,
) -> TargetResult:
    """A target's result, from beginning to end."""
    steps = segment_target(target, ArraySlices(volume, segmenter), policy, segmenter, limits)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def recorded(result: TargetResult) -> Recorded:
    """What trace and mask file hold of a result: the traced target, and masks by turn."""
    record = json.loads(json.dumps(trace_record(Trace.of([result]))))
    (traced,) = trace_from_record(record).targets
    masks = {
        (turn.slice_index, turn.index): turn.masks.unpacked() for turn in result.turns if turn.masks
    }
    return traced, masks


def same(one: Any, other: Any) -> bool:
    return (one is None) == (other is None) and (one is None or np.array_equal(one, other))


def assert_shown_alike(observation: Observation, again: Observation) -> None:
    """All that a policy can see is equal, but for the logits of earlier masks."""
    assert (again.slice_index, again.role) == (observation.slice_index, observation.role)
    assert again.turns_left == observation.turns_left
    assert again.supported_prompts == observation.supported_prompts
    assert same(again.carried, observation.carried)
    assert same(again.opening, observation.opening)
    assert len(again.best_masks) == len(observation.best_masks)
    assert all(map(same, again.best_masks, observation.best_masks))
    for label in ("best", "latest"):
        one, other = getattr(observation, label), getattr(again, label)
        assert same(one and one.mask, other and other.mask)


def assert_replays(
    policy: Watched,
    segmenter: Segmenter,
    volume: NDArray[np.float32],
    limits: Limits | None = None,
) -> Sequence[Outcome]:
    result = run(policy, segmenter, volume, limits=limits)
    traced, masks = recorded(result)

    replayed = replay_target(traced, masks)

    assert replayed.result.status is result.status
    assert same(replayed.result.voxels, result.voxels)
    assert [one.turn for one in replayed.turns] == list(traced.turns)
    shown = {
        (one.turn.slice_index, one.turn.index): one.observation
        for one in replayed.turns
        if one.observation is not None
    }
    counts: dict[int, int] = {}
    for observation in policy.seen:
        index = counts.get(observation.slice_index, 0)
        counts[observation.slice_index] = index + 1
        again = shown.get((observation.slice_index, index))
        if again is not None:  # the last may have failed before it was a turn
            assert_shown_alike(observation, again)
    looked_over = [one.voxels for one in replayed.turns if one.turn.role is Role.INSPECT]
    for voxels in looked_over:
        assert same(voxels, policy.looked_over[0])
    return [turn.outcome for turn in traced.turns]


@pytest.mark.parametrize("make_segmenter", [FakeSegmenter, FakeVolumeSegmenter, FakeVolumePrompter])
def test_a_target_of_the_fakes_is_found_again(
    volume: NDArray[np.float32], make_segmenter: Callable[[], Segmenter]
) -> None:
    policy = Watched(ThresholdPolicy({"ball": Band(0.7, 0.9)}))

    outcomes = assert_replays(policy, make_segmenter(), volume)

    assert Outcome.KEPT in outcomes


@pytest.mark.parametrize("make_segmenter", [Scribbler, ScribblingFollower])
@pytest.mark.parametrize("words", [True, False])
def test_whatever_happens_is_found_again(
    volume: NDArray[np.float32], make_segmenter: Callable[[int], Segmenter], words: bool
) -> None:
    outcomes: set[Outcome] = set()

    for seed in range(30):
        policy = Watched(Rambling(seed, words=words))
        outcomes |= set(assert_replays(policy, make_segmenter(seed), volume))

    assert outcomes == set(Outcome)


class TestThinSlices:
    """1 mm apart and drawn every 3 mm, what lies between interpolated."""

    LIMITS = Limits(draw_step_mm=3.0, fill_agreement=0.7)

    def test_whatever_happens_is_found_again(self, volume: NDArray[np.float32]) -> None:
        roles: set[Role] = set()

        for seed in range(20):
            words = bool(seed % 2)
            policy = Watched(Rambling(seed, words=words))
            assert_replays(policy, Scribbler(seed), volume, self.LIMITS)
            again = run(Rambling(seed, words=words), Scribbler(seed), volume, limits=self.LIMITS)
            roles |= {turn.role for turn in again.turns}

        assert Role.FILL in roles

    def test_a_turn_shows_what_was_interpolated(self, volume: NDArray[np.float32]) -> None:
        policy = ThresholdPolicy({"ball": Band(0.7, 0.9)})
        traced, masks = recorded(run(policy, FakeSegmenter(), volume, limits=self.LIMITS))

        replayed = replay_target(traced, masks)

        filled = [one for one in replayed.turns if one.turn.role is Role.FILL]
        assert filled
        for one in filled:
            assert isinstance(one.turn.action, NameSlices)
            assert one.voxels is not None
            shown = np.flatnonzero(one.voxels.any(axis=(1, 2)))
            assert tuple(shown) == one.turn.action.slices == tuple(one.masks)

    def test_another_mask_between_is_not_believed(self, volume: NDArray[np.float32]) -> None:
        policy = ThresholdPolicy({"ball": Band(0.7, 0.9)})
        traced, masks = recorded(run(policy, FakeSegmenter(), volume, limits=self.LIMITS))
        changed = tuple(
            replace(turn, masks=replace(turn.masks, digest="0" * 32))
            if turn.role is Role.FILL and turn.masks
            else turn
            for turn in traced.turns
        )

        with pytest.raises(ReplayDiffers, match="of the whole volume leads to another mask"):
            replay_target(replace(traced, turns=changed), masks)

    def test_a_trace_from_before_there_was_a_step_drew_every_slice(
        self, volume: NDArray[np.float32]
    ) -> None:
        policy = ThresholdPolicy({"ball": Band(0.7, 0.9)})
        traced, masks = recorded(run(policy, FakeSegmenter(), volume))
        record = trace_record(Trace((traced,)))
        for name in ("draw_step_mm", "fill_agreement"):
            del record["targets"][0]["conditions"]["limits"][name]

        (earlier,) = trace_from_record(record).targets

        assert earlier.conditions is not None
        assert earlier.conditions.limits.draw_step_mm == 0
        assert replay_target(earlier, masks).result.status is TargetStatus.SEGMENTED


class Failing(ThresholdPolicy):
    """Cannot be asked any more on slice 5."""

    def act(self, observation: Observation) -> Reply:
        if observation.slice_index == 5:
            raise ChatFailed("the server is away")
        return super().act(observation)


class Unlike(ThresholdPolicy):
    """Finds the structure in a view that it does not know."""

    def localise(self, target: Target, slices: Slices) -> Localisation:
        return replace(super().localise(target, slices), unlike="an odd view")


def test_a_view_unlike_what_was_learnt_is_found_again(volume: NDArray[np.float32]) -> None:
    policy = Unlike({"ball": Band(0.7, 0.9)})
    traced, masks = recorded(run(policy, FakeSegmenter(), volume))

    again = replay_target(traced, masks).result

    assert (again.status, again.reason) == (TargetStatus.UNCERTAIN, "an odd view")


def test_a_target_that_failed_on_the_way_is_found_again(volume: NDArray[np.float32]) -> None:
    policy = Watched(Failing({"ball": Band(0.7, 0.9)}))

    assert_replays(policy, FakeSegmenter(), volume)


@pytest.mark.parametrize("text", ["unknown", "dark"])
def test_a_target_that_was_never_drawn_is_found_again(
    volume: NDArray[np.float32], text: str
) -> None:
    policy = ThresholdPolicy({"dark": Band(0.98, 0.99)})
    result = run(policy, FakeSegmenter(), volume, Target(text))

    traced, masks = recorded(result)

    assert replay_target(traced, masks).result.status is result.status
    assert result.status in (TargetStatus.FAILED, TargetStatus.ABSENT)


class TestDisagreement:
    """A record that was changed is not believed."""

    @pytest.fixture
    def record(self, volume: NDArray[np.float32]) -> Recorded:
        policy = ThresholdPolicy({"ball": Band(0.7, 0.9)})
        return recorded(run(policy, FakeSegmenter(), volume))

    def changed(self, traced: TracedTarget, number: int, **fields: Any) -> TracedTarget:
        turns = list(traced.turns)
        turns[number] = replace(turns[number], **fields)
        return replace(traced, turns=tuple(turns))

    def test_an_outcome_that_does_not_follow(self, record: Recorded) -> None:
        traced, masks = record

        with pytest.raises(
            ReplayDiffers, match="turn 0 on slice 4 does not agree: recorded outcome"
        ):
            replay_target(self.changed(traced, 0, outcome=Outcome.ROLLED_BACK), masks)

    def test_an_action_that_was_changed(self, record: Recorded) -> None:
        traced, masks = record
        far = AddBox(Box(0, 0, 900, 900))

        with pytest.raises(ReplayDiffers, match="turn 0 on slice 4"):
            replay_target(self.changed(traced, 0, action=far), masks)

    def test_an_area_that_the_mask_has_not(self, record: Recorded) -> None:
        traced, masks = record

        with pytest.raises(ReplayDiffers, match="drew 7 pixels, its mask has"):
            replay_target(self.changed(traced, 0, area_px=7), masks)

    def test_a_mask_of_the_same_area_elsewhere(self, record: Recorded) -> None:
        traced, masks = record
        key = (traced.turns[0].slice_index, traced.turns[0].index)
        moved = {z: np.roll(mask, 1, axis=1) for z, mask in masks[key].items()}

        with pytest.raises(ReplayDiffers, match="turn 0 on slice 4 leads to another mask"):
            replay_target(traced, {**masks, key: moved})

    def test_a_mask_that_is_missing(self, record: Recorded) -> None:
        traced, _ = record

        with pytest.raises(ReplayDiffers, match="the mask of turn 0 on slice 4 is missing"):
            replay_target(traced, {})

    def test_a_turn_that_is_missing(self, record: Recorded) -> None:
        traced, masks = record

        with pytest.raises(ReplayDiffers, match="is missing in the record"):
            replay_target(replace(traced, turns=traced.turns[:-1]), masks)

    def test_a_turn_too_many(self, record: Recorded) -> None:
        traced, masks = record
        extra = replace(traced.turns[-1], index=99, masks=None, area_px=None)

        with pytest.raises(ReplayDiffers, match=r"turn 99 .* does not follow"):
            replay_target(replace(traced, turns=(*traced.turns, extra)), masks)

    def test_another_confidence_and_another_end(self, record: Recorded) -> None:
        traced, masks = record

        with pytest.raises(ReplayDiffers, match="confidence"):
            replay_target(replace(traced, confidence=0.123), masks)
        with pytest.raises(ReplayDiffers, match="lead to segmented, recorded is absent"):
            replay_target(replace(traced, status=TargetStatus.ABSENT), masks)

    def test_a_trace_of_version_one(self, repository: Path) -> None:
        golden = json.loads((repository / "tests/golden/trace-v1-through-volume.json").read_text())
        (traced,) = trace_from_record(golden).targets

        with pytest.raises(ReplayDiffers, match="version 1, which kept no masks"):
            replay_target(traced, {})


def test_prompts_are_those_of_the_segmenter(volume: NDArray[np.float32]) -> None:
    traced, _ = recorded(run(ThresholdPolicy({"ball": Band(0.7, 0.9)}), FakeSegmenter(), volume))

    assert traced.conditions is not None
    assert traced.conditions.supported_prompts == {PromptKind.BOX, PromptKind.POINT}
