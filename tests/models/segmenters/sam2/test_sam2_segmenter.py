"""SAM 2.1 as a segmenter: where prompts land, mixed prompts in one run, bfloat16, what is refused
at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.ports import PromptedSlice
from agent.values import Box, Point, Prompts
from models.errors import DeviceMissing, WrongArchitecture
from models.runtime.resources import Precision, Resources
from models.segmenters.sam2.architecture import MEDSAM2
from models.segmenters.sam2.segmenter import Sam2Segmenter, stacked_maps
from tests.support import seeded_networks

IMAGE = np.random.default_rng(2).random((90, 60, 3), dtype=np.float32)
BOX = Box(10, 20, 50, 80)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Sam2Segmenter]:
    """A function that opens the narrow network with the resources given."""
    folder = tmp_path_factory.mktemp("sam2")
    path = seeded_networks.sam2_checkpoint(folder)

    def opened(**given: Any) -> Sam2Segmenter:
        resources = Resources(cache_dir=folder, threads=1, device="cpu")
        return Sam2Segmenter(
            "sam2", path, seeded_networks.NARROW, resources=replace(resources, **given)
        )

    return opened


@pytest.fixture(scope="module")
def segmenter(opened: Callable[..., Sam2Segmenter]) -> Sam2Segmenter:
    """The narrow network in float32."""
    return opened()


def test_prompts_are_scaled_to_the_networks_square(segmenter: Sam2Segmenter) -> None:
    """128 pixels for 60 columns and 90 rows; zero stays zero, as upstream has it."""
    encoding = segmenter.encode(IMAGE)

    batch = segmenter._batch(
        [PromptedSlice(encoding, Prompts(box=Box(0, 0, 30, 45), points=(Point(15, 9),)))]
    )

    expected = np.array([[0, 0], [64, 64], [32, 12.8]])
    np.testing.assert_allclose(batch.points[0], expected, atol=1e-5)
    assert batch.labels.tolist() == [[2, 3, 1]]


def test_an_outline_goes_in_where_it_lies(segmenter: Sam2Segmenter) -> None:
    # Arrange
    encoding = segmenter.encode(IMAGE)
    mask = np.zeros((90, 60), dtype=np.bool_)
    mask[45:, :30] = True

    # Act
    (given,) = segmenter._batch([PromptedSlice(encoding, Prompts(mask=mask))]).masks

    # Assert
    assert given is not None
    assert given.shape == (32, 32)
    np.testing.assert_allclose(given[18:, :14], 10, atol=1e-4)
    np.testing.assert_allclose(given[:14], -10, atol=1e-4)
    np.testing.assert_allclose(given[:, 18:], -10, atol=1e-4)


def test_earlier_logits_come_before_an_outline(segmenter: Sam2Segmenter) -> None:
    # Arrange
    encoding = segmenter.encode(IMAGE)
    logits = segmenter.segment(encoding, Prompts(box=BOX)).logits
    outline = np.ones((90, 60), dtype=np.bool_)

    # Act
    both = segmenter.segment(encoding, Prompts(box=BOX, previous_logits=logits, mask=outline))

    # Assert
    alone = segmenter.segment(encoding, Prompts(box=BOX, previous_logits=logits))
    np.testing.assert_array_equal(both.logits, alone.logits)


def test_prompts_of_different_slices_and_histories_share_a_run(segmenter: Sam2Segmenter) -> None:
    # Arrange
    one, other = segmenter.encode(IMAGE), segmenter.encode(IMAGE[::-1, :40, 0].copy())
    logits = segmenter.segment(one, Prompts(box=BOX)).logits
    asks = [
        PromptedSlice(one, Prompts(box=BOX, previous_logits=logits)),
        PromptedSlice(other, Prompts(points=(Point(3, 4), Point(5, 6, positive=False)))),
        PromptedSlice(one, Prompts(box=BOX)),
    ]

    # Act
    batch = segmenter._batch(asks)
    together = segmenter.segment_many(asks)

    # Assert
    assert batch.maps[0].shape == (3, 256, 8, 8)
    assert torch.equal(batch.maps[0][0], batch.maps[0][2])
    for ask, answer in zip(asks, together, strict=True):
        alone = segmenter.segment(ask.encoding, ask.prompts)
        np.testing.assert_allclose(answer.logits, alone.logits, atol=1e-4)


def test_a_slice_that_is_asked_twice_is_taken_once(segmenter: Sam2Segmenter) -> None:
    encoding = segmenter.encode(IMAGE)

    maps = stacked_maps([encoding, encoding], segmenter.device)

    assert [each.shape for each in maps] == [(2, 256, 8, 8), (2, 32, 32, 32), (2, 64, 16, 16)]


def test_bfloat16_answers_nearly_the_same_in_float32(
    opened: Callable[..., Sam2Segmenter], segmenter: Sam2Segmenter
) -> None:
    # Act
    half = opened(precision=Precision.BFLOAT16)
    encoding = half.encode(IMAGE)
    answer = half.segment(encoding, Prompts(box=BOX))

    # Assert
    expected = segmenter.encode(IMAGE)
    assert half.runtime == "torch"
    assert encoding.embedding.dtype == np.float32
    gap = np.abs(encoding.embedding - expected.embedding).max() / np.ptp(expected.embedding)
    assert 1e-6 < gap < 0.05
    assert answer.logits.dtype == np.float32
    assert np.isfinite(answer.logits).all()


def test_the_weights_hash_is_known(segmenter: Sam2Segmenter) -> None:
    assert len(segmenter.weights_sha256) == 64
    assert segmenter.runtime == "onnxruntime"


def test_a_gpu_that_is_not_there_is_said(opened: Callable[..., Sam2Segmenter]) -> None:
    with pytest.raises(DeviceMissing, match="cuda:77"):
        opened(device="cuda:77")


def test_another_sizes_weights_are_refused(tmp_path: Path) -> None:
    path = seeded_networks.sam2_checkpoint(tmp_path)

    with pytest.raises(
        WrongArchitecture, match=r"holds SAM 2\.1 of width 16 and 5 blocks, not SAM 2\.1 tiny"
    ):
        Sam2Segmenter("medsam2", path, MEDSAM2, resources=Resources(device="cpu"))
