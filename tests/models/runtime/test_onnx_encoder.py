"""The exported encoder: the same numbers as torch, cached once, and torch where it cannot be
had.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.runtime.onnx_encoder import (
    EagerEncoder,
    fastest_encoder,
)
from models.runtime.onnx_graph import TOLERANCE
from models.segmenters.litemedsam import LiteMedSam

SHAPE = (1, 3, 16, 16)


@pytest.fixture
def network() -> torch.nn.Sequential:
    """A small convolutional encoder with seeded weights."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.GELU(), torch.nn.Conv2d(4, 8, 2, stride=2)
    ).eval()


@pytest.fixture
def pixels() -> np.ndarray:
    """Prepared pixels of SHAPE."""
    return np.random.default_rng(1).random(SHAPE, dtype=np.float32)


def test_litemedsam_through_onnx_runtime_gives_what_torch_gives(litemedsam: LiteMedSam) -> None:
    # Arrange
    image = np.random.default_rng(5).random((200, 256), dtype=np.float32)

    # Act
    fast = litemedsam.encode(image).embedding
    reference = LiteMedSam(eager=True).encode(image).embedding

    # Assert
    assert litemedsam.runtime == "onnxruntime"
    assert np.abs(reference).max() > 0.1
    assert np.abs(fast - reference).max() < TOLERANCE / 10


def test_the_export_is_kept_and_used_again(
    network: torch.nn.Sequential,
    pixels: np.ndarray,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Arrange
    caplog.set_level(logging.INFO)
    first = fastest_encoder(network, input_shape=SHAPE, key="tiny", cache_dir=tmp_path)
    kept = list(tmp_path.iterdir())
    caplog.clear()

    # Act
    second = fastest_encoder(network, input_shape=SHAPE, key="tiny", cache_dir=tmp_path)

    # Assert
    assert [path.name.split("-")[0] for path in kept] == ["tiny"]
    assert list(tmp_path.iterdir()) == kept
    assert caplog.records == []
    assert second.runtime == "onnxruntime"
    np.testing.assert_array_equal(first(pixels)[0], second(pixels)[0])


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_a_damaged_cache_is_made_anew(
    network: torch.nn.Sequential,
    pixels: np.ndarray,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    # Arrange
    fastest_encoder(network, input_shape=SHAPE, key="tiny", cache_dir=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(content)

    # Act
    encoder = fastest_encoder(network, input_shape=SHAPE, key="tiny", cache_dir=tmp_path)

    # Assert
    assert "made anew" in caplog.text
    assert encoder.runtime == "onnxruntime"
    np.testing.assert_allclose(encoder(pixels)[0], EagerEncoder(network)(pixels)[0], atol=1e-5)
    assert len(kept.read_bytes()) > 100


def test_other_weights_do_not_find_the_cache(network: torch.nn.Sequential, tmp_path: Path) -> None:
    fastest_encoder(network, input_shape=SHAPE, key="one", cache_dir=tmp_path)
    fastest_encoder(network, input_shape=SHAPE, key="two", cache_dir=tmp_path)

    assert len(list(tmp_path.iterdir())) == 2


def test_a_network_that_does_not_trace_runs_in_torch(
    pixels: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A trace fixes what depends on the data: the comparison finds it, torch does the work."""

    class DataDependent(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2 if x.sum() > 1 else x * 3

    # Act
    encoder = fastest_encoder(
        DataDependent(), input_shape=SHAPE, key="branching", cache_dir=tmp_path
    )

    # Assert
    assert encoder.runtime == "torch"
    assert "cannot run the image encoder" in caplog.text
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(encoder(pixels)[0], pixels * 2)


def test_a_cache_folder_that_cannot_be_written_costs_only_the_next_start(
    network: torch.nn.Sequential, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Arrange
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    # Act
    encoder = fastest_encoder(network, input_shape=SHAPE, key="tiny", cache_dir=blocked)

    # Assert
    assert encoder.runtime == "onnxruntime"
    assert "could not be kept" in caplog.text


def test_several_maps_come_out_in_the_modules_order(pixels: np.ndarray, tmp_path: Path) -> None:
    # Arrange
    class TwoMaps(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2, torch.nn.functional.avg_pool2d(x, 2) - 1

    # Act
    encoder = fastest_encoder(TwoMaps(), input_shape=SHAPE, key="two-maps", cache_dir=tmp_path)
    coarse, fine = reversed(encoder(pixels))

    # Assert
    assert encoder.runtime == "onnxruntime"
    np.testing.assert_allclose(fine, pixels * 2, atol=1e-6)
    assert coarse.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(coarse[0, 0, 0, 0], pixels[0, 0, :2, :2].mean() - 1, atol=1e-6)


def test_bfloat16_is_torchs_and_answers_in_float32(
    network: torch.nn.Sequential, pixels: np.ndarray, tmp_path: Path
) -> None:
    # Act
    encoder = fastest_encoder(
        network, input_shape=SHAPE, key="tiny", cache_dir=tmp_path, dtype=torch.bfloat16
    )
    (features,) = encoder(pixels)

    # Assert
    assert encoder.runtime == "torch"
    assert list(tmp_path.iterdir()) == []
    assert features.dtype == np.float32
    gap = np.abs(features - EagerEncoder(network)(pixels)[0]).max()
    assert 1e-6 < gap < 0.05


def test_what_no_onnx_file_can_hold_runs_in_torch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Arrange: two gigabytes of weights that take four bytes of memory
    caplog.set_level(logging.INFO)
    module = torch.nn.Identity()
    module.weights = torch.nn.Parameter(torch.ones(1).expand(500_000_000), requires_grad=False)

    # Act
    encoder = fastest_encoder(module, input_shape=SHAPE, key="huge", cache_dir=tmp_path)

    # Assert
    assert encoder.runtime == "torch"
    assert "too large for an ONNX file" in caplog.text
    assert list(tmp_path.iterdir()) == []
