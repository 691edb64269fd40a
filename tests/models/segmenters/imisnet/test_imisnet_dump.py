"""The arrays for outside trials, tiny; and the full-size network once, from a training script's
checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from agent.values import Box, Prompts
from models.parity.imisnet import dump_imisnet
from models.runtime.resources import Resources
from models.segmenters.imisnet.architecture import VIT_B, Architecture
from models.segmenters.imisnet.network import ImisNet
from models.segmenters.imisnet.opening import open_imisnet
from tests.models.segmenters.imisnet.conftest import NetworkAt, PlainAt, State

KINDS = ("points", "box", "points_box", "points_mask", "text", "text_box")


@pytest.fixture
def case() -> dict[str, NDArray[Any]]:
    """A case's inputs, as numpy hands them over from inputs.npz."""
    return {
        "image": np.random.default_rng(8).integers(0, 256, (50, 76, 3), dtype=np.uint8),
        "points": np.array([[20.0, 30.0], [60.0, 5.0]]),
        "point_labels": np.array([1, 0]),
        "box": np.array([4.0, 6.0, 50.0, 40.0]),
        "text_ids": np.array([[598, 17, 300, 5, 599, 599]]),
        "text_mask": np.array([[1, 1, 1, 1, 1, 0]]),
        "image_size": np.array(64),
    }


def test_every_array_is_there_in_its_shape(
    tiny_state: State, tiny_architecture: Architecture, case: Any
) -> None:
    # Act
    arrays = dump_imisnet(tiny_state, case, tiny_architecture)

    # Assert
    shapes = {
        "logits": (1, 1, 50, 76),
        "low_res": (1, 16, 16),
        "iou": (1, 1),
        "semantic": (1, 1, 24),
        "mask": (1, 1, 50, 76),
    }
    expected = {
        "image_embedding": (1, 32, 4, 4),
        "dense_pe": (1, 32, 4, 4),
        "text_embedding": (1, 32),
    }
    for prefix in ("", "single/"):
        for kind in KINDS:
            expected |= {f"{prefix}{kind}/{name}": shape for name, shape in shapes.items()}
    assert {name: array.shape for name, array in arrays.items()} == expected
    assert {array.dtype for name, array in arrays.items() if name.endswith("mask")} == {
        np.dtype(bool)
    }


def test_the_arrays_are_those_of_the_plain_network(
    tiny_state: State, tiny_architecture: Architecture, case: Any, plain_at: PlainAt
) -> None:
    # Arrange
    plain = plain_at(64)
    embedding = plain.image_embedding(case["image"])
    text = plain.text_embedding([598, 17, 300, 5, 599, 599])
    points: dict[str, Any] = {"points": [(20.0, 30.0), (60.0, 5.0)], "labels": [1, 0]}
    box: dict[str, Any] = {"box": [4.0, 6.0, 50.0, 40.0]}

    # Act
    arrays = dump_imisnet(tiny_state, case, tiny_architecture)

    # Assert
    for single in (True, False):
        prefix = "single/" if single else ""

        def drawn(
            mask: torch.Tensor | None = None,
            text: torch.Tensor | None = None,
            *,
            single: Any = single,
            **prompt: Any,
        ) -> Any:
            sparse = plain.sparse((50, 76), text=text, **prompt)
            logits, ious, semantics = plain.candidates(embedding, sparse, mask=mask, text=text)
            best = 0 if single else 1 + int(ious[1:].argmax())
            return logits[best], ious[best], semantics[best]

        by_points = drawn(**points)
        expected = {
            "points": by_points,
            "box": drawn(**box),
            "points_box": drawn(**points, **box),
            "points_mask": drawn(mask=by_points[0], **points),
            "text": drawn(text=text),
            "text_box": drawn(text=text, **box),
        }
        for kind, (low, iou, semantic) in expected.items():
            at = f"{prefix}{kind}/"
            np.testing.assert_allclose(arrays[f"{at}low_res"][0], low, atol=5e-5)
            np.testing.assert_allclose(arrays[f"{at}iou"][0, 0], iou, atol=5e-5)
            np.testing.assert_allclose(arrays[f"{at}semantic"][0, 0], semantic, atol=5e-5)
            np.testing.assert_array_equal(arrays[f"{at}mask"], arrays[f"{at}logits"] > 0)


def test_the_dump_and_the_segmenter_draw_the_same(
    tiny_state: State, tiny_architecture: Architecture, case: Any, tiny_at: NetworkAt
) -> None:
    from models.segmenters.imisnet.segmenter import ImisNetSegmenter

    arrays = dump_imisnet(tiny_state, case, tiny_architecture)
    segmenter = ImisNetSegmenter(tiny_at(64))

    encoding = segmenter.encode(case["image"].astype(np.float32) / 255)
    answer = segmenter.segment(encoding, Prompts(box=Box(4, 6, 50, 40)))

    np.testing.assert_allclose(encoding.embedding[None], arrays["image_embedding"], atol=1e-6)
    np.testing.assert_allclose(answer.logits[None], arrays["box/low_res"], atol=1e-5)
    np.testing.assert_array_equal(answer.mask[None, None], arrays["box/mask"])


@pytest.mark.slow
def test_the_full_network_opens_from_a_training_scripts_checkpoint(
    tmp_path: Path, seeded: Callable[[ImisNet], State]
) -> None:
    """182.5 million parameters, at side 256 and, with the same file, at another."""
    # Arrange
    path = tmp_path / "IMISNet-B.pth"
    with torch.device("meta"):
        network = ImisNet(VIT_B)
    torch.save({"epoch": 3, "model_state_dict": seeded(network)}, path)

    # Act
    segmenter = open_imisnet(path, Resources(threads=2, device="cpu"), side_px=256)
    encoding = segmenter.encode(np.random.default_rng(0).random((100, 130), dtype=np.float32))
    answer = segmenter.segment(encoding, Prompts(box=Box(10, 10, 80, 90)))

    # Assert
    assert encoding.embedding.shape == (768, 16, 16)
    assert np.isfinite(encoding.embedding).all()
    assert answer.logits.shape == (64, 64)
    assert answer.mask.shape == (100, 130)
