"""Slices as IMIS-Net takes them, and what it draws brought back to the slice's own size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from agent.ports import Encoding

_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)  # of RGB on 0..255
_DEVIATION = np.array([58.395, 57.12, 57.375], dtype=np.float32)


def rgb_of(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A slice in 0..1, grey (rows, columns) or RGB (rows, columns, 3), as RGB (rows, columns, 3)
    uint8.
    """
    levels = np.rint(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2) if levels.ndim == 2 else levels


def model_input(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.float32]:
    """A picture (rows, columns, 3) uint8 as the encoder wants it: (1, 3, side, side) float32.

    Squashed to the square by the nearest pixel, the aspect not kept, as the weights were trained.
    """
    resized = Image.fromarray(rgb).resize((side_px, side_px), Image.Resampling.NEAREST)
    normalised = (np.asarray(resized, dtype=np.float32) - _MEAN) / _DEVIATION
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], dtype=np.float32)


def source_logits(low: Tensor, side_px: int, source_shape: tuple[int, int]) -> Tensor:
    """Logits (n, side/4, side/4) at the slice's own size (n, rows, columns): bilinear to the
    square, then to the slice.
    """
    # (n, s, s) -> (n, 1, S, S) -> (n, 1, rows, columns): two steps as in training, one would differ
    square = functional.interpolate(
        low[:, None], size=(side_px, side_px), mode="bilinear", align_corners=False
    )
    full = functional.interpolate(square, size=source_shape, mode="bilinear", align_corners=False)
    return full[:, 0]


def scaled(points_xy: Sequence[tuple[float, float]], encoding: Encoding, side_px: int) -> Tensor:
    """Points xy in a slice's pixels in the model's, (n, 2) float32: x·S/W and y·S/H; the network
    adds the half pixel.
    """
    rows, columns = encoding.source_shape
    # the square does not keep the aspect, so each axis has a factor of its own
    factors = (side_px / columns, side_px / rows)
    return torch.tensor([(x * factors[0], y * factors[1]) for x, y in points_xy])
