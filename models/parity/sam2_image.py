"""The arrays of SAM 2.1 and MedSAM2 on an image that trials outside compare: each kind of prompt,
three masks and one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Sam2VideoModel

from models.segmenters.prompting import CORNER_FIRST, CORNER_LAST, LOGIT_CLAMP, resized
from models.segmenters.sam2.decoder import PromptBatch, PromptDecoder, SliceEncoder, model_input

Arrays = dict[str, NDArray[Any]]
Points = tuple[NDArray[np.float32], NDArray[np.int64]]


def dump_sam2_image(network: Sam2VideoModel, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Prompt a case's image in all ways.

    `inputs` by the names of the case's inputs.npz: `image` (H, W, 3) uint8, `points` (k, 2) xy and
    `box` (4,) in its pixels, `point_labels` (k,). Gives image/embedding (1, 256, s, s),
    image/high_res_0 and _1 (finer), and under image/{points, box, points_box, points_mask}/{multi,
    single}/ `logits` (n, H, W), `iou` (n,) and `low_res` (n, 4s, 4s) clamped to ±32. points_mask
    feeds back the best of the three masks of the box.
    """
    case = _ImageCase(network, np.asarray(inputs["image"], dtype=np.uint8))
    points, box = _clicks(inputs), _corners(inputs)
    both = np.concatenate([box[0], points[0]]), np.concatenate([box[1], points[1]])
    of_box = case.candidates(box, None, multimask=True)
    earlier = torch.from_numpy(of_box["low_res"][int(of_box["iou"].argmax())])
    prompts_by_kind: dict[str, tuple[Points, Tensor | None]] = {
        "points": (points, None),
        "box": (box, None),
        "points_box": (both, None),
        "points_mask": (points, earlier),
    }
    arrays = case.maps()
    for kind, (prompt, mask) in prompts_by_kind.items():
        for name, multimask in (("multi", True), ("single", False)):
            arrays_of_kind = case.candidates(prompt, mask, multimask=multimask)
            arrays |= {
                f"image/{kind}/{name}/{part}": array for part, array in arrays_of_kind.items()
            }
    return arrays


class _ImageCase:
    """An image, encoded once by torch in float32."""

    def __init__(self, network: Sam2VideoModel, image: NDArray[np.uint8]) -> None:
        self._shape, self._side_px = image.shape[:2], int(network.config.image_size)
        self._decoder = PromptDecoder(network)
        pixels = torch.from_numpy(
            model_input(np.divide(image, 255, dtype=np.float32), self._side_px)
        )
        with torch.inference_mode():
            self._maps: tuple[Tensor, Tensor, Tensor] = SliceEncoder(network)(pixels)

    def maps(self) -> Arrays:
        """The feature maps, under their names."""
        names = ("embedding", "high_res_0", "high_res_1")
        return {f"image/{name}": map_.numpy() for name, map_ in zip(names, self._maps, strict=True)}

    def candidates(self, prompt: Points, mask: Tensor | None, *, multimask: bool) -> Arrays:
        """The candidates for points and labels, and earlier logits if there are any."""
        rows, columns = self._shape
        points = torch.from_numpy(prompt[0]) / torch.tensor([columns, rows]) * self._side_px
        labels = torch.from_numpy(prompt[1])
        batch = PromptBatch(self._maps, points[None], labels[None], [mask])
        low_res, ious = self._decoder(batch, multimask=multimask)
        full = torch.stack([resized(plane, (rows, columns)) for plane in low_res[0]])
        return {
            "logits": full.numpy(),
            "iou": ious[0].numpy(),
            "low_res": low_res[0].clamp(-LOGIT_CLAMP, LOGIT_CLAMP).numpy(),
        }


def _clicks(inputs: Mapping[str, NDArray[Any]]) -> Points:
    points = np.asarray(inputs["points"], dtype=np.float32).reshape(-1, 2)
    return points, np.asarray(inputs["point_labels"], dtype=np.int64).reshape(-1)


def _corners(inputs: Mapping[str, NDArray[Any]]) -> Points:
    corners = np.asarray(inputs["box"], dtype=np.float32).reshape(2, 2)
    return corners, np.array([CORNER_FIRST, CORNER_LAST], dtype=np.int64)
