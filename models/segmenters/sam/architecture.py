"""The sizes of SAM as data, and the network of each, built without its package's own loading of
checkpoints.

Kirillov et al., "Segment Anything", 2023; the numbers are those of segment-anything 1.0,
build_sam.py. That builder reads a checkpoint with everything a pickle may hold, and onto the device
it was saved from; models.weights.checkpoints does neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import Tensor

from models.weights.checkpoints import load_strictly

PATCH_PX = 16
_WIDTH = 256  # of image embedding and prompts
_MEAN = (123.675, 116.28, 103.53)
_DEVIATION = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Architecture:
    """A SAM network. `name` as models.weights.checkpoints describes its weights; `width`, `depth`
    and `heads` of its vision transformer, `global_blocks` those whose attention sees the whole
    image, `side_px` of the square it works on.
    """

    name: str
    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    side_px: int = 1024

    @property
    def grid(self) -> int:
        """Rows (and columns) of the image embedding: `side_px` / 16."""
        return self.side_px // PATCH_PX

    @property
    def low_res_px(self) -> int:
        """Rows (and columns) of the low-resolution logits and of a mask prompt: `side_px` / 4."""
        return 4 * self.grid

    def build(self) -> Sam:
        """The network with weights by chance, in evaluation mode."""
        network = Sam(
            image_encoder=self._image_encoder(),
            prompt_encoder=PromptEncoder(
                embed_dim=_WIDTH,
                image_embedding_size=(self.grid, self.grid),
                input_image_size=(self.side_px, self.side_px),
                mask_in_chans=16,
            ),
            mask_decoder=MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(
                    depth=2, embedding_dim=_WIDTH, mlp_dim=2048, num_heads=8
                ),
                transformer_dim=_WIDTH,
                iou_head_depth=3,
                iou_head_hidden_dim=256,
            ),
            pixel_mean=list(_MEAN),
            pixel_std=list(_DEVIATION),
        )
        return network.eval()

    def _image_encoder(self) -> ImageEncoderViT:
        return ImageEncoderViT(
            depth=self.depth,
            embed_dim=self.width,
            img_size=self.side_px,
            mlp_ratio=4,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=self.heads,
            patch_size=PATCH_PX,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=self.global_blocks,
            window_size=14,
            out_chans=_WIDTH,
        )


VIT_B = Architecture("SAM ViT-B", 768, 12, 12, (2, 5, 8, 11))
VIT_L = Architecture("SAM ViT-L", 1024, 24, 16, (5, 11, 17, 23))
VIT_H = Architecture("SAM ViT-H", 1280, 32, 16, (7, 15, 23, 31))


def load_network(
    state: Mapping[str, Tensor], architecture: Architecture, device: torch.device
) -> Sam:
    """The network in evaluation mode on `device`, float32, without gradients.

    WrongArchitecture when a tensor is missing, left over or of another shape.
    """
    network = architecture.build()
    load_strictly(network, state, architecture.name)
    network.requires_grad_(requires_grad=False)
    return network.to(device)
