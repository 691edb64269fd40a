"""A segmenter by name, ready for a whole process."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from agent.values import Box, Prompts
from models.errors import DeviceMissing, UnknownModel
from models.registry import SEGMENTERS
from models.runtime.resources import Resources
from models.serving.opening import SMALL, VIT_1024, SharedSegmenters, needs_of, open_served
from models.serving.served import ServedSegmenter


def test_it_draws_under_its_own_name() -> None:
    segmenter = open_served("fake", Resources(memory_bytes=1 << 30))
    image = np.zeros((16, 16), dtype=np.float32)
    image[4:12, 4:12] = 0.5

    answer = segmenter.segment(segmenter.encode(image), Prompts(box=Box(3, 3, 12, 12)))

    assert isinstance(segmenter, ServedSegmenter)
    assert segmenter.name == "fake"
    assert answer.mask[5, 5]


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


def test_every_segmenter_has_an_estimate() -> None:
    assert needs_of("medsam2") == needs_of("litemedsam") == SMALL
    assert needs_of("imisnet") == VIT_1024
    assert needs_of("sam-vit-b") == VIT_1024
    assert needs_of("sam2-large").encode_bytes > needs_of("sam2-tiny").encode_bytes
    for name in SEGMENTERS:
        needs = needs_of(name)
        assert needs.encode_bytes > needs.ask_bytes > 0
    # the largest ViT takes at least what was measured of the base one
    assert all(needs_of(name).encode_bytes > 2505 << 20 for name in SEGMENTERS if "vit" in name)
