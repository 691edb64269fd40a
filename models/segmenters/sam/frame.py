"""How a slice lies in SAM's square: longest side to the square's, padded right and below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.segmenters.prompting import MASK_LOGIT, outline_logits, resized


@dataclass(frozen=True)
class Frame:
    """A slice of `source_shape` (rows, columns) as `inner_shape` at the top left of a square of
    `side_px`.
    """

    source_shape: tuple[int, int]
    inner_shape: tuple[int, int]
    side_px: int

    @classmethod
    def of(cls, source_shape: tuple[int, int], side_px: int) -> Frame:
        """The longest side fills the square, the other keeps the aspect, rounded half up, at least
        one pixel.

        segment-anything 1.0, ResizeLongestSide; there a side of less than half a pixel is an error.
        """
        # scale = S / max(H, W), one for both sides; int(x + 0.5) rounds a half up, round() to even
        scale = side_px / max(source_shape)
        rows, columns = (max(1, int(size * scale + 0.5)) for size in source_shape)
        return cls(source_shape, (rows, columns), side_px)

    def pixels(self, image: NDArray[np.float32]) -> Tensor:
        """A slice (rows, columns) or (rows, columns, 3) in 0..1 as (1, 3, rows', columns') in
        0..255, resized as upstream does it: whole grey values, bilinear by PIL, whole grey values.
        """
        rgb = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        whole = Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))
        rows, columns = self.inner_shape
        inner = np.asarray(whole.resize((columns, rows), Image.Resampling.BILINEAR))
        return torch.from_numpy(inner.astype(np.float32)).permute(2, 0, 1)[None]

    def points(self, points: NDArray[np.float32]) -> Tensor:
        """Points (n, 2) in source pixels xy as upstream scales them: the zero of both is the
        same.
        """
        # x·W'/W and y·H'/H with the rounded sides: the two factors differ in the last pixel
        (rows, columns), (inner_rows, inner_columns) = self.source_shape, self.inner_shape
        scale = np.array([inner_columns / columns, inner_rows / rows])
        return torch.from_numpy((points.astype(np.float64) * scale).astype(np.float32))

    def prompt(self, mask: NDArray[np.bool_], low_res_px: int) -> Tensor:
        """An outline (rows, columns) as a mask prompt: logits (low_res_px, low_res_px), the padding
        outside.
        """
        # the outline fills the slice's part of the square; both resizings keep edges to edges, so
        # cell (i, j) of the s x s logits covers the square's pixels from S/s·i to S/s·(i + 1)
        square = torch.full((self.side_px, self.side_px), -MASK_LOGIT)
        rows, columns = self.inner_shape
        square[:rows, :columns] = resized(outline_logits(mask), self.inner_shape, antialias=True)
        return resized(square, (low_res_px, low_res_px), antialias=True)

    def source_logits(self, low_res: Tensor) -> Tensor:
        """Logits (h, w) at the slice's own size: to the square, the padding cut off, to the
        source.
        """
        rows, columns = self.inner_shape
        # the padding is cut off at the square's full resolution, where the edge is a whole pixel
        square = resized(low_res, (self.side_px, self.side_px))
        return resized(square[:rows, :columns], self.source_shape)
