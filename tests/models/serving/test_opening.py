"""A segmenter by name, ready for a whole process."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from agent.fakes import ArraySlices
from agent.ports import VolumePrompter
from agent.values import Box, Prompts, VolumePrompts
from models.errors import DeviceMissing, UnknownModel
from models.runtime.resources import Resources
from models.serving.opening import SharedSegmenters, open_served
from models.serving.served import ServedSegmenter


def test_it_draws_under_its_own_name() -> None:
    segmenter = open_served("fake", Resources(memory_bytes=1 << 30))
    image = np.zeros((16, 16), dtype=np.float32)
    image[4:12, 4:12] = 0.5

    answer = segmenter.segment(segmenter.encode(image), Prompts(box=Box(3, 3, 12, 12)))

    assert isinstance(segmenter, ServedSegmenter)
    assert segmenter.name == "fake"
    assert answer.mask[5, 5]


def test_a_segmenter_of_volumes_draws_whole_objects_within_the_budget() -> None:
    segmenter = open_served("fake-volume-prompter", Resources(memory_bytes=1 << 30))
    volume = np.zeros((5, 16, 16), dtype=np.float32)
    volume[1:4, 4:12, 4:12] = 0.5

    assert isinstance(segmenter, VolumePrompter)
    prompts = VolumePrompts.on_slice(2, Prompts(box=Box(3, 3, 12, 12)))
    answer = segmenter.segment_volume(ArraySlices(volume, segmenter), prompts)

    assert np.array_equal(answer.mask, volume > 0)


def test_all_models_of_a_process_share_one_budget() -> None:
    one, other = (open_served("fake", Resources(memory_bytes=123 << 20)) for _ in range(2))

    assert one._budget is other._budget
    assert one._budget.total_bytes == 123 << 20


def test_a_segmenter_is_loaded_once_for_all_who_use_it() -> None:
    shared, resources = SharedSegmenters(), Resources(memory_bytes=1 << 30)

    one = shared.open("fake", resources)

    assert shared.open("fake", Resources(memory_bytes=1 << 30)) is one
    assert shared.open("fake", Resources(memory_bytes=1 << 29)) is not one


def test_a_segmenter_that_nobody_uses_is_let_go() -> None:
    shared, resources = SharedSegmenters(), Resources(memory_bytes=1 << 30)
    gone = weakref.ref(shared.open("fake", resources))

    gc.collect()

    assert gone() is None


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(UnknownModel, match="there is no segmenter called 'fade'"):
        open_served("fade", Resources())
    with pytest.raises(DeviceMissing, match="there is no device 'cuda:77' here"):
        open_served("fake", Resources(device="cuda:77"))
