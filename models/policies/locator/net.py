"""The locator: where 13 abdominal organs lie, read off LiteMedSAM's embedding of a slice.

Where LiteMedSAM draws the embedding is there anyway, so looking for all organs at once costs 20 ms
more. To it come the slice itself and where each cell lies in the patient's body, which the
encoder does not know. The network is a small U-Net with dilated blocks, 1.7 M parameters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy import ndimage
from torch import nn
from torch.nn import functional

EMBEDDING_SHAPE = (256, 64, 64)
IMAGE_PX = 256
CELLS = 64
MAP_PX = 128
"""Side of the maps the network answers; two of their pixels span one cell of the embedding."""

CLASSES = 14  # background and 13 organs, models.policies.locator.structures.ORGANS
WIDTHS = (64, 112, 144)  # channels at 64, 32 and 16 cells
_INPUTS = EMBEDDING_SHAPE[0] + (IMAGE_PX // CELLS) ** 2 + 2
_BODY_LEVEL = 0.05  # of the window: fat is 0.15, air and most of the couch 0


class Block(nn.Module):
    """A residual block: 3x3 convolution of some `dilation`, 1x1 convolution, whole channels
    dropped.
    """

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.GroupNorm(8, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 1),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape in and out (batch, channels, h, w)."""
        # a 3 x 3 convolution of dilation d reads 2·d + 1 cells across; d of 1, 2, 4, 1 one behind
        # the other 1 + 2·(1 + 2 + 4 + 1) = 17 coarse cells: more than the 16 of the whole slice
        changed: torch.Tensor = self.layers(x)
        return x + changed


class Locator(nn.Module):
    """Inputs (batch, 274, 64, 64) from `network_input` to logits (batch, 14, 128, 128)."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        fine, middle, coarse = WIDTHS
        self.stem = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(_INPUTS, fine, 1))
        self.fine_in = Block(fine, 1, dropout)
        self.to_middle = nn.Conv2d(fine, middle, 2, 2)
        self.middle_in = _blocks(middle, (1, 2, 1), dropout)
        self.to_coarse = nn.Conv2d(middle, coarse, 2, 2)
        self.coarse = _blocks(coarse, (1, 2, 4, 1), dropout)
        self.from_coarse = nn.Conv2d(coarse, middle, 1)
        self.middle_out = _blocks(middle, (1, 2), dropout)
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.fine_out = Block(fine, 1, dropout)
        # 14·4 channels of a cell are its 2 x 2 pixels of 14 classes, laid out by the shuffle
        scale = MAP_PX // CELLS
        self.head = nn.Sequential(
            nn.GroupNorm(8, fine),
            nn.GELU(),
            nn.Conv2d(fine, CLASSES * scale**2, 1),
            nn.PixelShuffle(scale),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of all classes, background first."""
        # (n, 64, 64, 64), (n, 112, 32, 32), (n, 144, 16, 16) and back: what a coarse cell knows of
        # the surroundings is added to what the fine ones know of the place
        fine = self.fine_in(self.stem(x))
        middle = self.middle_in(self.to_middle(fine))
        coarse = self.coarse(self.to_coarse(middle))
        middle = self.middle_out(middle + _twice(self.from_coarse(coarse)))
        logits: torch.Tensor = self.head(self.fine_out(fine + _twice(self.from_middle(middle))))
        return logits


def network_input(
    embedding: torch.Tensor, square: torch.Tensor, position: torch.Tensor
) -> torch.Tensor:
    """What the network reads (batch, 274, 64, 64), float32.

    `embedding` (batch, 256, 64, 64) of the segmenter; `square` (batch, 256, 256) the slice in 0..1
    as the segmenter's encoder saw it; `position` (batch, 2, 64, 64) from `body_position`.
    """
    # the 4 x 4 pixels of a cell become its 16 channels: 256 + 16 + 2 = 274, and none is lost
    pixels = functional.pixel_unshuffle(square[:, None], IMAGE_PX // CELLS)
    # embeddings lie in +-0.6: brought to the range of the others
    return torch.cat([embedding * 3, pixels * 2 - 1, position], dim=1)


def body_position(square: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where each cell lies in the body (2, 64, 64) float32: (y, x), -1 and 1 at the body's edges.

    `square` (256, 256) in 0..1. The body is the largest thing brighter than air; cells beyond twice
    its size are clipped to +-2.
    """
    labels, count = ndimage.label(ndimage.binary_opening(square > _BODY_LEVEL, iterations=2))
    rows, columns = slice(0, IMAGE_PX), slice(0, IMAGE_PX)
    if count:
        largest = int(np.bincount(labels.ravel())[1:].argmax())
        rows, columns = ndimage.find_objects(labels)[largest]
    centres = np.arange(CELLS) * (IMAGE_PX / CELLS) + IMAGE_PX / CELLS / 2
    # each axis of the body's box onto -1..1, linear: (c - start) / length · 2 - 1
    y, x = ((centres - axis.start) / (axis.stop - axis.start) * 2 - 1 for axis in (rows, columns))
    grid = np.stack(np.meshgrid(y, x, indexing="ij"))
    return np.clip(grid, -2, 2).astype(np.float32)


def load_locator(path: Path) -> Locator:
    """The trained network in evaluation mode; raises OSError or RuntimeError when `path` does not
    fit.
    """
    locator = Locator()
    locator.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return locator.eval().requires_grad_(requires_grad=False)


def _blocks(channels: int, dilations: tuple[int, ...], dropout: float) -> nn.Sequential:
    return nn.Sequential(*(Block(channels, dilation, dropout) for dilation in dilations))


def _twice(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
