"""SAM 2.1's image path on transformers' modules: pixels to feature maps, maps and prompts to
candidate masks.

The numbers of the package sam2 1.1.0, sam2/sam2_image_predictor.py, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Sam2VideoModel

from models.runtime.devices import computing

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def model_input(image: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """A slice (rows, columns) or (rows, columns, 3) in 0..1 as the network sees it: (1, 3, side,
    side) float32.

    Squashed to the square (the aspect is not kept), bilinear with antialias, less ImageNet's mean
    over its deviation.
    """
    channels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    pixels = torch.from_numpy(np.array(channels, dtype=np.float32))[None]
    square = torch.nn.functional.interpolate(
        pixels, (side_px, side_px), mode="bilinear", align_corners=False, antialias=True
    )
    mean, deviation = (torch.tensor(three).view(1, 3, 1, 1) for three in (_MEAN, _DEVIATION))
    normalised: NDArray[np.float32] = ((square - mean) / deviation).numpy()
    return normalised


class SliceEncoder(torch.nn.Module):
    """Pixels (n, 3, S, S) to the maps that prompts are decoded on, S/16 = s: (n, 256, s, s), (n,
    32, 4s, 4s), (n, 64, 2s, 2s).

    The embedding holds `no_memory_embedding`, which the image path adds and the path through a
    volume does not; the finer maps are already projected for the mask decoder.
    """

    def __init__(self, network: Sam2VideoModel) -> None:
        super().__init__()
        self._vision, self._decoder = network.vision_encoder, network.mask_decoder
        self._no_memory = network.no_memory_embedding

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three maps, the coarsest first."""
        # a pyramid of 256 channels at strides 4, 8 and 16: (n, 256, 4s, 4s), (n, 256, 2s, 2s),
        # (n, 256, s, s); the two finer ones are projected to the 32 and 64 channels that the mask
        # decoder adds while it brings the coarse map back to stride 4
        finest, finer, coarse = self._vision(pixels, return_dict=True).fpn_hidden_states
        embedding = coarse + self._no_memory.view(1, -1, 1, 1)
        return embedding, self._decoder.conv_s0(finest), self._decoder.conv_s1(finer)


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts of one shape for n masks.

    `maps` of the slice of each, n in front, as SliceEncoder gives them; `points` (n, k, 2) float32
    in the network's pixels, `labels` (n, k) as in models.segmenters.prompting, k may be 0; `masks`
    (h, w) logits at the network's low resolution or None.
    """

    maps: tuple[Tensor, Tensor, Tensor]
    points: Tensor
    labels: Tensor
    masks: Sequence[Tensor | None]


class PromptDecoder:
    """Draws candidate masks; the prompts are encoded in float32, the decoder computes with
    `dtype`.
    """

    def __init__(self, network: Sam2VideoModel, dtype: torch.dtype = torch.float32) -> None:
        self._network, self._dtype = network, dtype
        self.device = network.no_memory_embedding.device
        with torch.inference_mode():
            self._positions = network.get_image_wide_positional_embeddings()

    def __call__(self, batch: PromptBatch, *, multimask: bool = True) -> tuple[Tensor, Tensor]:
        """Logits (n, m, 4s, 4s) and predicted IoU (n, m), float32; m is 3, or 1 when not
        `multimask`.

        The single mask is the best of the three where it is not stable itself (as sam2's builder
        sets it up).
        """
        embedding, finest, finer = batch.maps
        count = len(embedding)
        with torch.inference_mode():
            # A two-way transformer takes the tokens (1 score, 1 IoU and 4 mask tokens, then the
            # prompts) and the image (n, s·s, 256) through attention to each other. Each mask token
            # becomes 32 weights w by an MLP; with the image brought to stride 4 as u (32, 4s, 4s)
            # the logits are l(p) = Σ w(c)·u(c, p)
            sparse, dense = self._sparse(batch), self._dense(batch.masks)
            with computing(self.device, self._dtype):
                masks, ious, _, _ = self._network.mask_decoder(
                    image_embeddings=embedding,
                    image_positional_embeddings=self._positions.expand(count, -1, -1, -1),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=multimask,
                    high_resolution_features=[finest, finer],
                )
        return masks[:, 0].float(), ious[:, 0].float()

    def _sparse(self, batch: PromptBatch) -> Tensor:
        """Tokens (n, 1, k + 1, 256): corners and clicks, then one padding point; without any, no
        token at all.
        """
        # A point p, scaled to -1..1, is [sin 2πGp, cos 2πGp] with a Gaussian matrix G (128, 2) that
        # is part of the weights (Tancik et al., "Fourier Features Let Networks Learn High Frequency
        # Functions in Low Dimensional Domains", 2020), plus a learned vector for its label
        count, points = batch.labels.shape
        if points == 0:
            width = self._network.prompt_encoder.hidden_size
            return torch.zeros((count, 1, 0, width), device=self.device)
        sparse: Tensor = self._network.prompt_encoder(
            input_points=batch.points[:, None],
            input_labels=batch.labels[:, None],
            input_boxes=None,
            input_masks=None,
        )[0]
        return sparse

    def _dense(self, masks: Sequence[Tensor | None]) -> Tensor:
        """What is known of each mask (n, 256, s, s): its earlier logits, or that there are none."""
        # earlier logits (4s, 4s) go through two convolutions of stride 2 and one of 1 x 1 to
        # (256, s, s), which is added to the image's embedding; without any a learned vector is
        encoder = self._network.prompt_encoder
        dense: Tensor = encoder.no_mask_embed.weight.view(1, -1, 1, 1).repeat(
            len(masks), 1, *encoder.image_embedding_size
        )
        places = [place for place, mask in enumerate(masks) if mask is not None]
        if places:
            stacked = torch.stack([mask for mask in masks if mask is not None])
            dense[places] = encoder.mask_embed(stacked[:, None].to(self.device))
        return dense
