"""A segmenter that takes boxes only answers as it did, and refuses the rest."""

from __future__ import annotations

import numpy as np

from agent.actions import AddPoint, Stop
from agent.episode.loop import run_episode
from agent.fakes import ArraySlices, FakeSegmenter, FakeVolumeSegmenter, ScriptedPolicy
from agent.limits import Limits
from agent.ports import (
    Localisation,
    Observation,
    PromptedSlice,
    Seed,
    VolumePrompter,
    VolumeSegmenter,
)
from agent.turns import Outcome
from agent.values import Box, Point, PromptKind, Prompts, Role, Target, VolumePrompts, VoxelBox
from models.evaluation.methods.box_only import BOXES, box_only

IMAGE = np.zeros((12, 12), np.float32)
IMAGE[3:8, 3:8] = 0.8
BOX = Box(2, 2, 8, 8)


def test_a_box_gives_the_same_mask() -> None:
    plain, boxed = FakeSegmenter(), box_only(FakeSegmenter())
    encoding = boxed.encode(IMAGE)
    expected = plain.segment(plain.encode(IMAGE), Prompts(box=BOX)).mask
    assert np.array_equal(boxed.segment(encoding, Prompts(box=BOX)).mask, expected)
    (answer,) = boxed.segment_many([PromptedSlice(encoding, Prompts(box=BOX))])
    assert np.array_equal(answer.mask, expected)
    assert (boxed.name, boxed.supported_prompts) == ("fake", BOXES)


def test_a_click_is_refused() -> None:
    boxed = box_only(FakeSegmenter())
    policy = ScriptedPolicy(
        Localisation((1.0,), (0,)), {Role.KEY: [AddPoint(Point(5, 5)), Stop(), Stop()]}
    )
    start = Observation(Target("x"), ArraySlices(IMAGE[None], boxed), 0, Role.KEY)
    first = next(run_episode(start, policy, boxed, Limits()))
    assert first.outcome is Outcome.REFUSED
    assert "does not understand a point; use box" in first.observation


def test_what_follows_objects_still_does() -> None:
    boxed = box_only(FakeVolumeSegmenter())
    assert isinstance(boxed, VolumeSegmenter)
    slices = ArraySlices(np.stack([IMAGE] * 3), boxed)
    steps = boxed.propagate(slices, [Seed({0: IMAGE > 0.5})], lambda _: True)
    assert [step.z for step in steps] == [1, 2]


def test_what_draws_objects_still_does() -> None:
    from agent.fakes import FakeVolumePrompter

    boxed = box_only(FakeVolumePrompter())
    assert isinstance(boxed, VolumePrompter)
    slices = ArraySlices(np.stack([IMAGE] * 3), boxed)
    prompts = VolumePrompts(boxes=(VoxelBox(1, 2, 2, 1, 8, 8),))
    assert boxed.segment_volume(slices, prompts).mask.any()
    assert boxed.supported_prompts == BOXES


class TakesBoxes(FakeSegmenter):
    supported_prompts = frozenset({PromptKind.BOX})


def test_what_takes_boxes_only_is_itself() -> None:
    segmenter = TakesBoxes()
    assert box_only(segmenter) is segmenter
