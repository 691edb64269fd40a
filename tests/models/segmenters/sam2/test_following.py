"""Sam2VolumeSegmenter: objects together as alone, each slice encoded once, nothing held that grows
with the slices.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.errors import SegmenterFailed
from agent.fakes import ArraySlices
from agent.ports import Encoding, PropagatedSlice, Seed, Slices, VolumeSegmenter
from agent.values import UNTOLD_FACTS
from models.runtime.encoding import Features
from models.runtime.resources import Precision, Resources
from models.segmenters.sam2.memory import Bank, Capacity, Memory, closest
from models.segmenters.sam2.network import load_network
from models.segmenters.sam2.tracker import Tracker
from models.segmenters.sam2.volume import Sam2VolumeSegmenter, follow_objects
from tests.support import seeded_networks

SHAPE = (12, 40, 52)  # (z, y, x): slices of their own shape, not the network's


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[1], : SHAPE[2]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


LEFT, RIGHT, LOW = disc(15, 20, 9), disc(36, 18, 8), disc(26, 30, 7)


def forever(_: PropagatedSlice) -> bool:
    return True


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Sam2VolumeSegmenter:
    """The narrow network with its seeded weights, from a checkpoint file."""
    folder = tmp_path_factory.mktemp("sam2")
    return opened(folder)


def opened(folder: Path, precision: Precision = Precision.FLOAT32) -> Sam2VolumeSegmenter:
    resources = Resources(cache_dir=folder, threads=1, device="cpu", precision=precision)
    path = seeded_networks.sam2_checkpoint(folder)
    return Sam2VolumeSegmenter("sam2", path, seeded_networks.NARROW, resources=resources)


@pytest.fixture
def slices(segmenter: Sam2VolumeSegmenter) -> ArraySlices:
    noise = np.random.default_rng(7).random(SHAPE, dtype=np.float32)
    return ArraySlices(noise, segmenter)


def followed(
    segmenter: Any, slices: Slices, seeds: Sequence[Seed], continue_if: Any = forever
) -> dict[tuple[int, int], Any]:
    """What was drawn, by (object, slice)."""
    drawn = list(segmenter.propagate(slices, seeds, continue_if))
    assert len({(one.index, one.z) for one in drawn}) == len(drawn)
    return {(one.index, one.z): one for one in drawn}


def test_it_is_a_volume_segmenter(segmenter: Sam2VolumeSegmenter) -> None:
    assert isinstance(segmenter, VolumeSegmenter)


def test_each_object_is_drawn_on_every_other_slice_at_the_slices_own_size(
    segmenter: Sam2VolumeSegmenter, slices: ArraySlices
) -> None:
    found = followed(segmenter, slices, [Seed({4: LEFT}), Seed({7: RIGHT}, lowest=3, highest=9)])

    assert {z for n, z in found if n == 0} == set(range(12)) - {4}
    assert {z for n, z in found if n == 1} == {3, 4, 5, 6, 8, 9}
    one = found[0, 5]
    assert one.segmentation.mask.shape == SHAPE[1:]
    assert one.segmentation.mask.dtype == np.bool_
    assert one.segmentation.logits.shape == (32, 32)
    assert one.segmentation.logits.dtype == np.float32
    assert np.abs(one.segmentation.logits).max() <= 32
    ious = one.segmentation.candidate_ious
    assert len(ious) == 3
    assert one.segmentation.predicted_iou == ious[one.segmentation.choice] == max(ious)


def test_objects_together_are_as_they_are_alone(
    segmenter: Sam2VolumeSegmenter, slices: ArraySlices
) -> None:
    """Of different key slices, so that some have much to remember where others have little; two of
    equal size.
    """
    seeds = [Seed({2: LEFT}), Seed({2: RIGHT}), Seed({6: LOW}), Seed({1: LEFT, 9: RIGHT})]

    together = followed(segmenter, slices, seeds)

    for number, seed in enumerate(seeds):
        alone = followed(segmenter, slices, [seed])
        assert {z for _, z in alone} == {z for n, z in together if n == number}
        for (_, z), one in alone.items():
            twin = together[number, z]
            gap = np.abs(one.segmentation.logits - twin.segmentation.logits).max()
            assert gap <= 1e-4
            assert one.score == pytest.approx(twin.score, abs=1e-5)


def test_several_at_once_are_as_one_at_a_time(
    segmenter: Sam2VolumeSegmenter, slices: ArraySlices
) -> None:
    """What a GPU does in one go a CPU does one by one."""
    tracker = segmenter._tracker
    seeds = [Seed({5: LEFT}), Seed({5: RIGHT}), Seed({3: LOW})]
    one_by_one = followed(segmenter, slices, seeds)
    tracker._at_once = 16
    try:
        in_one_go = followed(segmenter, slices, seeds)
    finally:
        tracker._at_once = 1

    for key, one in one_by_one.items():
        gap = np.abs(one.segmentation.logits - in_one_go[key].segmentation.logits).max()
        assert gap <= 1e-4


def test_between_two_outlines_both_are_known_and_the_nearer_leads(
    segmenter: Sam2VolumeSegmenter, slices: ArraySlices
) -> None:
    two = followed(segmenter, slices, [Seed({2: LEFT, 9: RIGHT})])
    one = followed(segmenter, slices, [Seed({2: LEFT})])

    assert {z for _, z in two} == set(range(12)) - {2, 9}
    assert (two[0, 3].segmentation.logits != one[0, 3].segmentation.logits).any()


def test_every_slice_is_encoded_once(segmenter: Sam2VolumeSegmenter, slices: ArraySlices) -> None:
    followed(segmenter, slices, [Seed({4: LEFT}), Seed({7: RIGHT})])

    assert slices.encoder_passes == SHAPE[0]


def test_slices_beyond_an_objects_end_are_not_even_encoded(
    segmenter: Sam2VolumeSegmenter, slices: ArraySlices
) -> None:
    followed(segmenter, slices, [Seed({4: LEFT})], lambda one: 3 <= one.z <= 6)

    assert slices.encoder_passes == len({2, 3, 4, 5, 6, 7})


def test_an_object_that_the_network_does_not_see_is_empty_and_unsure(
    tmp_path: Path, slices: ArraySlices
) -> None:
    state = dict(seeded_networks.sam2_state())
    state["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] = torch.tensor([-5.0])
    path = tmp_path / "blind.pt"
    torch.save({"model": state}, path)
    resources = Resources(cache_dir=tmp_path, threads=1, device="cpu")
    blind = Sam2VolumeSegmenter("sam2", path, seeded_networks.NARROW, resources=resources)

    found = followed(blind, ArraySlices(slices._intensities, blind), [Seed({4: LEFT}, 3, 6)])

    assert not any(one.segmentation.mask.any() for one in found.values())
    assert all(0 <= one.score < 0.5 for one in found.values())


def test_the_score_says_whether_it_is_there(
    segmenter: Sam2VolumeSegmenter, slices: ArraySlices
) -> None:
    found = followed(segmenter, slices, [Seed({4: LEFT}, 3, 6)])

    assert all(0.5 < one.score <= 1 for one in found.values())


def test_bfloat16_is_near(
    segmenter: Sam2VolumeSegmenter, slices: ArraySlices, tmp_path: Path
) -> None:
    half = opened(tmp_path, Precision.BFLOAT16)
    seeds = [Seed({4: LEFT}, 3, 6)]

    plain, rough = followed(segmenter, slices, seeds), followed(half, slices, seeds)

    for key, one in plain.items():
        gap = np.abs(one.segmentation.logits - rough[key].segmentation.logits)
        assert 0 < np.median(gap) < 0.5


def test_another_segmenters_slices_are_refused(segmenter: Sam2VolumeSegmenter) -> None:
    class Foreign(ArraySlices):
        def encoding(self, z: int) -> Encoding:
            return Features(np.zeros((256, 16, 16), dtype=np.float32), SHAPE[1:])

    foreign = Foreign(np.zeros(SHAPE, dtype=np.float32), segmenter)

    with pytest.raises(SegmenterFailed, match="made by another segmenter"):
        followed(segmenter, foreign, [Seed({4: LEFT})])


class Endless:
    """A thousand slices of which three are different; nothing is kept that grows with them."""

    spacing_mm, window, levels, modality = (1.0, 1.0, 1.0), "", None, ""
    facts = UNTOLD_FACTS

    def __init__(self, depth: int, grid: int) -> None:
        self.shape = (depth, *SHAPE[1:])
        noise = np.random.default_rng(1).normal
        sides = {256: grid, 32: 4 * grid, 64: 2 * grid}
        maps = [[noise(size=(c, n, n)).astype(np.float32) for c, n in sides.items()] for _ in "abc"]
        self._encodings = [Features(one, SHAPE[1:], (two, three)) for one, two, three in maps]

    def image(self, z: int) -> np.ndarray:
        raise AssertionError(f"slice {z} is encoded already")

    picture = intensities = image

    def encoding(self, z: int) -> Encoding:
        return self._encodings[z % 3]


def live_tensors() -> tuple[int, int]:
    """How many tensors there are, and their bytes."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    return len(tensors), sum(one.untyped_storage().nbytes() for one in tensors)


def test_what_is_held_does_not_grow_with_the_slices() -> None:
    # Arrange: an object with an outline far ahead, through a network of 32 pixels
    torch.set_num_threads(1)
    architecture = replace(seeded_networks.NARROW, side_px=32)
    tracker = Tracker(load_network(seeded_networks.sam2_state(), architecture, torch.device("cpu")))
    endless = Endless(1000, architecture.grid)
    seeds = [Seed({0: RIGHT, 990: LEFT}, lowest=0)]
    held = {}

    # Act
    for one in follow_objects(tracker, endless, seeds, forever):
        if one.z in (40, 300, 495, 700):  # upwards to the middle, then down to it
            held[one.z] = live_tensors()

    # Assert
    counts, sizes = zip(*held.values(), strict=True)
    assert len(held) == 4
    assert max(counts) <= counts[0]
    assert max(sizes) <= sizes[0]


class TestBank:
    """Which memories come back, by hand."""

    def memory(self, z: int) -> Memory:
        return Memory(z, torch.tensor([[float(z)]]), torch.tensor([float(z)]))

    def bank(
        self, *outlines: int, step: int = 1, depth: int = 100, drawn: Any = (), **capacity: Any
    ) -> Bank:
        known = {z: self.memory(z) for z in outlines}
        bank = Bank(known, step, depth, Capacity(**capacity))
        for z in drawn:
            bank.remember(self.memory(z))
        return bank

    def test_six_slices_and_fifteen_pointers_behind_and_the_outline(self) -> None:
        recall = self.bank(10, drawn=range(11, 50)).recall(50)

        assert [(ago, int(one)) for ago, one in recall.features] == [
            (0, 10),
            *((6, 44), (5, 45), (4, 46), (3, 47), (2, 48), (1, 49)),
        ]
        assert [(ago, int(one)) for ago, one in recall.pointers] == [
            (40, 10),
            *((ago, 50 - ago) for ago in range(1, 16)),
        ]
        assert recall.size == (7, 16)
        assert recall.reach == 16

    def test_downwards_behind_is_above(self) -> None:
        recall = self.bank(10, step=-1, drawn=(9, 8, 7)).recall(6)

        assert [(ago, int(one)) for ago, one in recall.features] == [
            (0, 10),
            (3, 9),
            (2, 8),
            (1, 7),
        ]
        assert [(ago, int(one)) for ago, one in recall.pointers] == [
            (4, 10),
            (1, 7),
            (2, 8),
            (3, 9),
        ]

    def test_an_outline_ahead_is_seen_but_brings_no_pointer(self) -> None:
        recall = self.bank(10, 20, drawn=(11,)).recall(12)

        assert [int(one) for _, one in recall.features] == [10, 20, 11]
        assert [(ago, int(one)) for ago, one in recall.pointers] == [(2, 10), (1, 11)]

    def test_an_outline_too_far_to_be_attended_to_still_is_a_slice_behind(self) -> None:
        recall = self.bank(1, 4, 6, 9, drawn=(7,), outlines=2).recall(8)

        assert [(ago, int(one)) for ago, one in recall.features] == [
            *((0, 6), (0, 9)),
            *((4, 4), (1, 7)),
        ]
        assert [(ago, int(one)) for ago, one in recall.pointers] == [
            (2, 6),
            *((1, 7), (4, 4), (7, 1)),
        ]

    def test_a_short_volume_has_short_memories(self) -> None:
        assert self.bank(0, depth=5).recall(1).reach == 5

    @pytest.mark.parametrize(
        ("z", "at_most", "expected"),
        [
            (10, -1, [1, 5, 12, 30]),
            (10, 4, [1, 5, 12, 30]),
            (10, 2, [5, 12]),
            (10, 3, [5, 12, 1]),
            (40, 2, [30, 12]),
            (12, 2, [5, 12]),
            (0, 2, [1, 5]),
        ],
    )
    def test_the_closest_outlines(self, z: int, at_most: int, expected: list[int]) -> None:
        known = {at: self.memory(at) for at in (1, 5, 12, 30)}

        assert list(closest(known, z, at_most)) == expected
