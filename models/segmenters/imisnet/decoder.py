"""IMIS-Net's mask decoder: SAM's, with semantic tokens and a text that is drawn into every mask.

Cheng et al., "Interactive Medical Image Segmentation: A Benchmark Dataset and Baseline", 2024, on
Kirillov et al., "Segment Anything", 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.transformer import TwoWayTransformer
from torch import Tensor, nn

from models.segmenters.imisnet.architecture import MASK_TOKENS, Architecture


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the decoder draws for n prompts: `logits` (n, 4, s, s), `ious` (n, 4) raw, `semantics`
    (n, 4, 512).
    """

    logits: Tensor
    ious: Tensor
    semantics: Tensor


class Decoder(nn.Module):
    """Prompts and an image embedding in, four candidate masks out.

    The names of its parts are those of the checkpoint; tokens go in as iou (1), mask (4), semantic
    (4), prompts.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, eighth = architecture.width, architecture.width // 8
        self.transformer = TwoWayTransformer(
            depth=architecture.decoder_depth,
            embedding_dim=width,
            num_heads=architecture.decoder_heads,
            mlp_dim=architecture.decoder_mlp,
        )
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, width)
        self.semantic_tokens = nn.Embedding(MASK_TOKENS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, eighth, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, eighth, 3) for _ in range(MASK_TOKENS)
        )
        self.text_output = nn.Linear(width, eighth)
        head = architecture.head_width
        self.iou_prediction_head = MLP(width, head, MASK_TOKENS, 3)
        self.semantic_prediction_head = MLP(width, head, architecture.semantic_width, 3)

    def forward(
        self, image: Tensor, positions: Tensor, sparse: Tensor, dense: Tensor, text: Tensor | None
    ) -> Candidates:
        """Draw n prompts.

        `image` (n, width, h, w) the embedding under each prompt, `positions` (1, width, h, w),
        `sparse` (n, tokens, width) with the text among them, `dense` (n, width, h, w), `text` (n,
        width) or None.
        """
        # Tokens (n, 9 + prompts, width): 1 for the IoU, 4 masks, 4 semantics, then what was asked.
        # Each layer of the two-way transformer lets the tokens attend to themselves and to the
        # pixels (n, h·w, width), then the pixels to the tokens. A prompt on the pixels (`dense`) is
        # added to them before
        own = torch.cat(
            [self.iou_token.weight, self.mask_tokens.weight, self.semantic_tokens.weight]
        )
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        states, pixels = self.transformer(
            image + dense, positions.expand(len(image), -1, -1, -1), tokens
        )
        _, mask_states, semantic_states, _ = states.split(
            [1, MASK_TOKENS, MASK_TOKENS, sparse.shape[1]], dim=1
        )
        # (n, h·w, width) -> (n, width, h, w) -> (n, width/8, 4h, 4w) by two transposed convolutions
        upscaled = self.output_upscaling(pixels.transpose(1, 2).reshape(image.shape))
        return Candidates(
            self._masks(mask_states, upscaled, text),
            self.iou_prediction_head(states[:, 0]),
            self.semantic_prediction_head(semantic_states),
        )

    def _masks(self, states: Tensor, upscaled: Tensor, text: Tensor | None) -> Tensor:
        """Logits (n, 4, s, s): each mask token's weights, and the text's beside them, on the
        pixels' features.
        """
        # With weights w(m, c) of mask m, made of its token by an MLP of its own (a hypernetwork),
        # and pixels f(c, p), c = 1 … width/8: l(m, p) = Σ w(m, c)·f(c, p)
        weights = torch.stack(
            [
                network(states[:, number])
                for number, network in enumerate(self.output_hypernetworks_mlps)
            ],
            dim=1,
        )
        features = upscaled.flatten(2)
        logits = weights @ features
        # The text's weights t(c) are added to those of every mask: (w + t)·f = w·f + t·f
        if text is not None:
            logits = logits + self.text_output(text)[:, None] @ features
        return logits.reshape(*logits.shape[:2], *upscaled.shape[2:])
