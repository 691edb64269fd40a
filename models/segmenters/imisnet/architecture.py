"""The measures of IMIS-Net: what is fixed by its checkpoint, in one value."""

from __future__ import annotations

from dataclasses import dataclass

PATCH_PX = 16
"""Side of a patch: the embedding of a side S has S/16 rows and columns."""

MASK_TOKENS = 4
"""Masks the decoder draws: number 0 for networks that give a single one, 1 to 3 to choose from."""


@dataclass(frozen=True)
class Architecture:
    """Widths and depths of an IMIS-Net; the defaults are the published ViT-B.

    `trained_side_px` is the side that position tables in the checkpoint are for, whatever side the
    network works at. `global_blocks` of the image encoder look at the whole image, the others at
    windows of `window` patches. The last two words of the `vocabulary` are CLIP's start and end of
    text.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    trained_side_px: int = 1024
    mask_channels: int = 16
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    head_width: int = 256
    semantic_width: int = 512
    text_width: int = 512
    text_depth: int = 12
    text_heads: int = 8
    text_mlp: int = 2048
    text_positions: int = 77
    vocabulary: int = 49408

    @property
    def start_token(self) -> int:
        """CLIP's start of text."""
        return self.vocabulary - 2

    @property
    def end_token(self) -> int:
        """CLIP's end of text; the text's embedding is read at the first one."""
        return self.vocabulary - 1


VIT_B = Architecture()
"""The published network: 527 tensors, 182.5 million parameters."""
