"""IMIS-Net as one module: SAM's image and prompt encoder at width 768, its own decoder, CLIP's text
model.
"""

from __future__ import annotations

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, PromptEncoder
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from models.segmenters.imisnet.architecture import PATCH_PX, Architecture
from models.segmenters.imisnet.decoder import Candidates, Decoder

_BLOCK_EPS = 1e-5  # of LayerNorm in the image encoder's blocks; SAM's own builders pass 1e-6


class ImisNet(nn.Module):
    """The network as it comes from the checkpoint, at the side that its position tables are for.

    `at_side` makes it work at another side. Its parts bear upstream's names
    (models.segmenters.imisnet.checkpoint has the rest).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, side_px = architecture.width, architecture.trained_side_px
        self.image_encoder = ImageEncoderViT(
            img_size=side_px,
            patch_size=PATCH_PX,
            embed_dim=width,
            depth=architecture.depth,
            num_heads=architecture.heads,
            out_chans=width,
            norm_layer=partial(nn.LayerNorm, eps=_BLOCK_EPS),
            use_rel_pos=True,
            window_size=architecture.window,
            global_attn_indexes=architecture.global_blocks,
        )
        self.prompt_encoder = PromptEncoder(
            embed_dim=width,
            image_embedding_size=(side_px // PATCH_PX,) * 2,
            input_image_size=(side_px, side_px),
            mask_in_chans=architecture.mask_channels,
        )
        self.mask_decoder = Decoder(architecture)
        self.text_model = CLIPTextModel(_text_config(architecture))
        self.text_out_dim = nn.Linear(architecture.text_width, width)

    @property
    def side_px(self) -> int:
        """The side of the square that it works at, in pixels."""
        return int(self.image_encoder.img_size)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return self.text_out_dim.weight.device

    def at_side(self, side_px: int) -> ImisNet:
        """This network as it came from the checkpoint, from now on at `side_px` (a multiple of 16,
        ValueError otherwise).

        The absolute positions are resampled once, bicubic with antialias; the relative ones of the
        global blocks the package resamples as it runs.
        """
        if side_px <= 0 or side_px % PATCH_PX:
            raise ValueError(f"the side must be a multiple of {PATCH_PX} pixels, not {side_px}")
        patches = side_px // PATCH_PX
        encoder, prompts = self.image_encoder, self.prompt_encoder
        encoder.img_size = side_px
        encoder.pos_embed = nn.Parameter(
            resampled_positions(encoder.pos_embed.detach(), patches), requires_grad=False
        )
        prompts.input_image_size = (side_px, side_px)
        prompts.image_embedding_size = (patches, patches)
        prompts.mask_input_size = (4 * patches, 4 * patches)
        return self

    def text_embedding(self, token_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and their mask, both (n, length), as (n, width): the state at the first end
        token, projected.
        """
        # causal attention: the state at the first end token has read all words before it
        state = self.text_model(input_ids=token_ids, attention_mask=attention_mask)
        embedding: Tensor = self.text_out_dim(state.pooler_output)
        return embedding

    def draw(
        self,
        image: Tensor,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        text: Tensor | None,
    ) -> Candidates:
        """The candidates for n prompts in the model's pixels.

        `image` (n, width, h, w); `points` (n, k, 2) xy with labels (n, k), 1 in and 0 out; `boxes`
        (n, 4) xyxy; `masks` (n, 1, 4h, 4w) raw logits; `text` (n, width). What is None is not asked
        with.
        """
        sparse, dense = self.prompt_encoder(points=points, boxes=boxes, masks=masks)
        # sparse (n, k, width): a click is one token, a box two, a text one more.
        # dense (n, width, h, w): earlier logits through convolutions, or a learned vector.
        # The package cannot tell the number of prompts from a text alone
        sparse = sparse.expand(len(image), -1, -1)
        dense = dense.expand(len(image), -1, -1, -1)
        if text is not None:
            sparse = torch.cat([sparse, text[:, None]], dim=1)
        positions = self.prompt_encoder.get_dense_pe()
        candidates: Candidates = self.mask_decoder(image, positions, sparse, dense, text)
        return candidates


def resampled_positions(table: Tensor, patches: int) -> Tensor:
    """A table of positions (1, h, w, width) at (1, patches, patches, width): bicubic, antialias;
    unchanged at its size.
    """
    if table.shape[1:3] == (patches, patches):
        return table
    # the table is an image of c = `width` channels: (1, h, w, c) -> (1, c, h, w) -> (1, c, p, p)
    resampled = functional.interpolate(
        table.permute(0, 3, 1, 2),
        size=(patches, patches),
        mode="bicubic",
        antialias=True,
        align_corners=False,
    )
    return resampled.permute(0, 2, 3, 1).contiguous()


def _text_config(architecture: Architecture) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=architecture.vocabulary,
        hidden_size=architecture.text_width,
        intermediate_size=architecture.text_mlp,
        num_hidden_layers=architecture.text_depth,
        num_attention_heads=architecture.text_heads,
        max_position_embeddings=architecture.text_positions,
        projection_dim=architecture.text_width,
        bos_token_id=architecture.start_token,
        eos_token_id=architecture.end_token,
    )
