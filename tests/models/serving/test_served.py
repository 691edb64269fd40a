"""Out of memory is no end: halves, then alone, then the CPU, then a sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from agent.errors import SegmenterFailed
from agent.fakes import ArraySlices, FakeEncoding, FakeSegmenter, FakeVolumeSegmenter
from agent.ports import (
    ContinueIf,
    PromptedSlice,
    PropagatedSlice,
    Seed,
    Segmenter,
    Slices,
    VolumeSegmenter,
)
from agent.values import Box, Prompts, Segmentation
from models.entries import Needs
from models.runtime.memory import MemoryBudget
from models.serving.served import served

NEEDS = Needs(encode_bytes=10, ask_bytes=5, object_bytes=20)
LIMIT_S = 20.0


def full(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


class Cramped(FakeVolumeSegmenter):
    """Runs out of memory beyond `prompts` at once, `objects` in a pass, and in the first `encodes`
    encodings.
    """

    def __init__(self, prompts: int = 99, objects: int = 99, encodes: int = 0) -> None:
        super().__init__()
        self.prompts, self.objects, self.encodes = prompts, objects, encodes
        self.sizes: list[int] = []
        self.passes: list[int] = []

    def encode(self, image: np.ndarray) -> FakeEncoding:
        self.encodes -= 1
        if self.encodes >= 0:
            full()
        return super().encode(image)

    def segment_many(self, asks: Sequence[PromptedSlice]) -> list[Segmentation]:
        self.sizes.append(len(asks))
        if len(asks) > self.prompts:
            full()
        return super().segment_many(asks)

    def propagate(
        self, slices: Slices, seeds: Sequence[Seed], continue_if: ContinueIf
    ) -> Iterator[PropagatedSlice]:
        self.passes.append(len(seeds))
        if len(seeds) > self.objects:
            full()
        yield from super().propagate(slices, seeds, continue_if)


def asks(count: int) -> list[PromptedSlice]:
    image = np.zeros((24, 24), dtype=np.float32)
    image[2:20, 2:20] = 0.5
    return [
        PromptedSlice(FakeEncoding(image), Prompts(box=Box(2, 2, 5 + n, 9))) for n in range(count)
    ]


def tower() -> tuple[np.ndarray, list[Seed]]:
    """Three bright columns through six slices, and their outlines on slice 2."""
    volume = np.zeros((6, 24, 48), dtype=np.float32)
    seeds = []
    for n, left in enumerate((2, 18, 34)):
        volume[:, 4:16, left : left + 12] = 0.3 + 0.2 * n
        mask = np.zeros((24, 48), dtype=np.bool_)
        mask[4:16, left : left + 12] = True
        seeds.append(Seed({2: mask}))
    return volume, seeds


def followed(segmenter: VolumeSegmenter) -> dict[tuple[int, int], int]:
    """Pixels by (object, slice)."""
    volume, seeds = tower()
    slices = ArraySlices(volume, FakeSegmenter())
    drawn = segmenter.propagate(slices, seeds, lambda one: bool(one.segmentation.mask.any()))
    return {(one.index, one.z): int(one.segmentation.mask.sum()) for one in drawn}


def test_what_is_too_much_at_once_is_halved() -> None:
    cramped = Cramped(prompts=3)
    segmenter = served(cramped, MemoryBudget(1000), NEEDS)

    answers = segmenter.segment_many(asks(8))

    assert cramped.sizes == [8, 4, 2, 2, 4, 2, 2]
    for answer, expected in zip(answers, FakeSegmenter().segment_many(asks(8)), strict=True):
        assert np.array_equal(answer.mask, expected.mask)


def test_one_prompt_too_many_goes_to_the_spare() -> None:
    cramped, spare = Cramped(prompts=0), Cramped()
    built: list[Segmenter] = []

    def build() -> Segmenter:
        built.append(spare)
        return spare

    segmenter = served(cramped, MemoryBudget(1000), NEEDS, build)

    answers = segmenter.segment_many(asks(2))

    assert [answer.mask.any() for answer in answers] == [True, True]
    # together, then each: once in the ordinary way, once alone with all memory
    assert cramped.sizes == [2, 1, 1, 1, 1]
    assert spare.sizes == [1, 1]
    assert built == [spare]


def test_an_encoding_is_tried_again_alone() -> None:
    cramped = Cramped(encodes=1)
    segmenter = served(cramped, MemoryBudget(1000), NEEDS)

    assert segmenter.encode(np.zeros((4, 6), dtype=np.float32)).source_shape == (4, 6)


def test_without_memory_anywhere_it_says_so() -> None:
    segmenter = served(Cramped(encodes=99), MemoryBudget(1000), NEEDS)

    with pytest.raises(SegmenterFailed, match="not enough memory for fake-volume; set models"):
        segmenter.encode(np.zeros((4, 6), dtype=np.float32))


def test_other_errors_are_left_as_they_are() -> None:
    class Broken(FakeSegmenter):
        def encode(self, image: np.ndarray) -> FakeEncoding:
            raise ValueError("shape")

    with pytest.raises(ValueError, match="shape"):
        served(Broken(), MemoryBudget(1000), NEEDS).encode(np.zeros((4, 6), dtype=np.float32))


def served_volume(
    segmenter: Segmenter, spare: Callable[[], Segmenter] | None = None
) -> VolumeSegmenter:
    served_segmenter = served(segmenter, MemoryBudget(1000), NEEDS, spare)
    assert isinstance(served_segmenter, VolumeSegmenter)
    return served_segmenter


def test_objects_are_followed_in_as_many_passes_as_it_takes() -> None:
    cramped = Cramped(objects=1)
    segmenter = served_volume(cramped)

    assert followed(segmenter) == followed(FakeVolumeSegmenter())
    assert cramped.passes == [3, 1, 2, 1, 1]


def test_an_object_too_large_for_the_gpu_is_followed_on_the_cpu() -> None:
    segmenter = served_volume(Cramped(objects=0), FakeVolumeSegmenter)

    assert followed(segmenter) == followed(FakeVolumeSegmenter())
    with pytest.raises(SegmenterFailed, match="not enough memory for fake-volume to follow"):
        followed(served_volume(Cramped(objects=0)))


def test_a_pass_holds_memory_for_those_it_works_on_together() -> None:
    """Three objects, two at a time: a third one's worth of memory stays for others."""
    budget = MemoryBudget(1000)
    segmenter = served(FakeVolumeSegmenter(), budget, Needs(10, 5, 20, objects_at_once=2))
    volume, seeds = tower()
    free: list[int] = []

    def continue_if(_: PropagatedSlice) -> bool:
        free.append(budget.free_bytes)
        return False

    assert isinstance(segmenter, VolumeSegmenter)
    list(segmenter.propagate(ArraySlices(volume, FakeSegmenter()), seeds, continue_if))

    assert set(free) == {960}
    assert budget.free_bytes == 1000


def test_what_is_served_follows_only_if_it_can() -> None:
    budget = MemoryBudget(1000)

    assert isinstance(served(FakeVolumeSegmenter(), budget, NEEDS), VolumeSegmenter)
    assert not isinstance(served(FakeSegmenter(), budget, NEEDS), VolumeSegmenter)


def test_following_and_encoding_do_not_wait_for_each_other_for_ever() -> None:
    """A pass holds memory and encodes slices while another thread wants all memory to encode its
    own.
    """
    # Arrange
    budget = MemoryBudget(70, patience_s=LIMIT_S)
    segmenter = served(FakeVolumeSegmenter(), budget, Needs(70, 5, 20))
    assert isinstance(segmenter, VolumeSegmenter)
    volume, seeds = tower()
    slices = ArraySlices(volume, segmenter)
    begun = threading.Event()

    def continue_if(one: PropagatedSlice) -> bool:
        begun.set()
        slices.encoding(one.z)
        return bool(one.segmentation.mask.any())

    # Act
    with ThreadPoolExecutor(2) as pool:
        passing = pool.submit(lambda: list(segmenter.propagate(slices, seeds, continue_if)))
        assert begun.wait(LIMIT_S)
        encoded = pool.submit(segmenter.encode, volume[0])

        # Assert
        assert len(passing.result(LIMIT_S)) == 15
        assert encoded.result(LIMIT_S).source_shape == (24, 48)
    assert budget.free_bytes == 70
